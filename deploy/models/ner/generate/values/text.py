"""Numbers and codes of everyday clinical and legal prose that identify nobody."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from deploy.models.ner.generate.grammar import Draw
from deploy.models.ner.generate.values.numbers import filled


def forms(*patterns: str) -> Callable[[Draw], str]:
    return lambda d: filled(d.rng, patterns[int(d.rng.random() * len(patterns))])


def bp(d: Draw) -> str:
    return f"{d.rng.randrange(80, 210)}/{d.rng.randrange(40, 120)}"


def score(d: Draw) -> str:
    top = d.rng.choice((5, 10, 10, 15, 20, 27, 30, 100))
    return f"{d.rng.randrange(top + 1)}{d.rng.choice(('/', '/', ' out of ', ' / '))}{top}"


MAKERS: Final[dict[str, Callable[[Draw], str]]] = {
    "int": lambda d: str(d.rng.randrange(1, 100)), **{f"num{n}": forms("%" + "#" * (n - 1)) for n in range(2, 10)},
    "dose": forms("%# mg", "%#mg", "%## mg", "%.# mg", "%## mcg", "%g", "%# mL", "%/%#.5 mg", "%#,000 units", "%##/%# mg", "0.#5 mg/kg", "%## mg/m2", "%# units", "%#mg/kg/day", "%# mEq", "%.# mg/kg", "%# MBq", "%##-%## mg"),
    "bp": bp, "score": score, "temp": forms("3#.# C", "10%.#", "9#.#F", "3#.#", "9#.#", "3#.#°C"),
    "lab": forms("%.#", "%#", "%##", "%#.#", "0.##", "%,%##", "<0.0%", ">%##", "%.## mg/dL", "%## K/uL", "%##,000", "%#%", "%# U/L", "%.# mmol/L", "%#.# g/dL"),
    "fraction": forms("%/%", "%/%#", "%#/%#", "%:%#", "%#:%"),
    "amount": forms("$%,%##", "$%##.##", "$%#,###", "%,%##.## USD", "EUR %#.###", "€%##", "£%,%##", "%#,### dollars", "$%.# million", "%##.000 €", "CHF %'%##"),
    "vitals": lambda d: f"{d.rng.choice(('BP', 'bp', 'BP:'))} {bp(d)}{d.rng.choice((', ', ' ', '; '))}{d.rng.choice(('HR', 'P', 'hr', 'pulse'))} {d.rng.randrange(45, 160)}{d.rng.choice((', ', ' '))}{d.rng.choice(('RR', 'R'))} {d.rng.randrange(10, 40)}{d.rng.choice((', T ', ' T ', ', Temp ', ' temp '))}{filled(d.rng, '9#.#')}{d.rng.choice((', ', ' '))}{d.rng.choice(('SpO2', 'O2 sat', 'sats', 'SaO2'))} {d.rng.randrange(84, 101)}%{d.rng.choice(('', ' RA', ' on 2L', ' on room air', ' on 4L NC'))}",
    "statute": forms("42 U.S.C. § %##%", "45 CFR 164.%##", "§ %##", "28 U.S.C. § 1%##", "Section %#(?)", "Fed. R. Civ. P. %#(?)(%)", "Art. % GDPR", "21 CFR %#.%#", "R.C. %###.%#", "Rule %#(?)", "art. %## CC", "§ %## BGB"),
    "citation": forms("%## U.S. %##", "%## F.3d %###", "%## F. Supp. 2d %##", "[20%#] UKSC %#", "[20%#] EWCA Civ %##", "%## S. Ct. %###", "%## P.2d %##", "20%# WL %######"),
    "icd": forms("@##.#", "@##", "@##.##", "@%#.%##@", "%##.##", "Z%#.#", "I%#.#", "E11.#", "M5%.#"),
    "cpt": forms("99%##", "9####", "%####", "J%###", "G0###", "4####-59"), "ndc": forms("#####-####-##", "####-####-##", "#####-###-##"), "nct": forms("NCT0#######"),
    "version": forms("v%.%", "%.%.%", "version %.%", "v%#.%.#", "DSM-5", "ICD-%#", "%##b-%#k"), "code_word": forms("@@-%###", "@@@-%##", "@@@%##"),
}  # fmt: skip
