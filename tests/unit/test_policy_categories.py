"""Data categories of a request: what counts as one, in four languages, and what only looks so."""

from __future__ import annotations

import pytest

from gateway.domain import Category
from gateway.errors import DetectorError
from gateway.pii.categories import Categorizer

C = Category

TOLD: list[tuple[str, set[Category]]] = [
    # English
    ("The patient takes metformin.", {C.HEALTH}),
    ("HIV positive since spring", {C.HEALTH}),
    ("She is a practising Catholic.", {C.BELIEF}),
    ("refuses transfusion, Jehovah's Witness", {C.BELIEF}),
    ("a Greek Orthodox priest", {C.BELIEF}),
    ("he is a registered Democrat", {C.POLITICS}),
    ("She was treasurer of the local Green Party.", {C.POLITICS}),
    ("dismissed as a member of the IG Metall works council", {C.UNION}),
    ("She pays her union dues.", {C.UNION}),
    ("He is gay and out at work.", {C.SEX_LIFE}),
    ("sexually active with two partners", {C.SEX_LIFE}),
    ("an African-American woman", {C.ETHNICITY}),
    ("of Kurdish origin", {C.ETHNICITY}),
    ("BRCA1 carrier", {C.GENETICS}),
    ("whole exome sequencing was ordered", {C.GENETICS}),
    ("His fingerprints were taken.", {C.BIOMETRICS}),
    ("doors open by facial recognition", {C.BIOMETRICS}),
    ("He was convicted of theft in 2011.", {C.CRIMINAL}),
    ("released from prison", {C.CRIMINAL}),
    ("convicted of assault; gay; HIV", {C.CRIMINAL, C.SEX_LIFE, C.HEALTH}),
    # Spanish
    ("El paciente es católico.", {C.HEALTH, C.BELIEF}),
    ("afiliada a un sindicato", {C.UNION}),
    ("tiene antecedentes penales", {C.CRIMINAL}),
    ("de etnia gitana", {C.ETHNICITY}),
    ("vota a Podemos, militante del partido", {C.POLITICS}),
    ("huella dactilar", {C.BIOMETRICS}),
    ("portadora de la mutación", {C.GENETICS}),
    ("su orientación sexual", {C.SEX_LIFE}),
    # French
    ("Elle est juive.", {C.BELIEF}),
    ("délégué syndical depuis dix ans", {C.UNION}),
    ("d\u2019origine algérienne", {C.ETHNICITY}),
    ("son casier judiciaire", {C.CRIMINAL}),
    ("militante du parti", {C.POLITICS}),
    ("enceinte de six mois", {C.HEALTH}),
    ("ses empreintes digitales", {C.BIOMETRICS}),
    ("il est homosexuel", {C.SEX_LIFE}),
    # German
    ("Sie ist jüdisch.", {C.BELIEF}),
    ("Sie ist ju\u0308disch.", {C.BELIEF}),
    ("Mitglied des Betriebsrats", {C.UNION}),
    ("Er ist vorbestraft.", {C.CRIMINAL}),
    ("Mitglied der SPD", {C.POLITICS}),
    ("ein schwuler Kollege", {C.SEX_LIFE}),
    ("türkischer Herkunft", {C.ETHNICITY}),
    ("Der Gentest war auffällig.", {C.GENETICS}),
    ("Sein Fingerabdruck ist gespeichert.", {C.BIOMETRICS}),
    ("Sie ist krankgeschrieben.", {C.HEALTH}),
    # A false friend does not hide a cue beside it.
    ("orthodox means, but he is Catholic; catholic tastes", {C.BELIEF}),
    ("a third party, and she joined the Labour Party", {C.POLITICS}),
]

SILENT = [
    "",
    "an orthodox treatment plan",
    "catholic tastes in music",
    "a tumor-agnostic approval",
    "union of the bone ends, nonunion excluded",
    "The European Union and its member states",
    "a credit union card",
    "liberal fluids, conservative management",
    "the third party to the contract",
    "party wall agreement",
    "race condition in the scheduler",
    "white matter, black ink",
    "a genetic algorithm",
    "it is in our company DNA",
    "browser fingerprinting",
    "the fingerprint of the key",
    "cardiac arrest",
    "charged with electrons",
    "the battery was charged with a cable",
    "a task she was charged with",
    "the sentence is too long",
    "Please be patient with me.",
    "This option is disabled.",
    "hearing aids",
    "Islamabad, the capital",
    "Gay-Lussac's law",
    "podemos empezar",
    "el mur d'enceinte",
    "le syndicat des copropriétaires",
    "schwüles Wetter",
    "Verletzung der Vertragspflicht liegt vor: Vertragsverletzung",
    "Draft a letter about the lease.",
    "\ud800 \x00 \u202e",
]


@pytest.fixture(scope="module")
def categorizer():
    return Categorizer()


@pytest.mark.parametrize(("text", "expected"), TOLD)
def test_what_a_text_speaks_of(categorizer, text, expected):
    """A cue in any of four languages tells its category, and no other one."""
    assert categorizer.categories([text]) == expected


@pytest.mark.parametrize("text", SILENT)
def test_false_friends_are_silent(categorizer, text):
    """Words that only look like such data tell nothing."""
    assert categorizer.categories([text]) == frozenset()


def test_the_categories_of_several_texts_are_those_of_each(categorizer):
    """What one text says is not changed by another, and no cue spans two of them."""
    assert categorizer.categories(["union", "dues"]) == frozenset()
    assert categorizer.categories(["HIV", "", "convicted of theft"]) == {C.HEALTH, C.CRIMINAL}


def test_case_does_not_matter(categorizer):
    """Capitals are how people write, not what they say."""
    for text, expected in TOLD:
        assert categorizer.categories([text.upper()]) == expected


def test_the_digest_is_of_the_words(categorizer):
    """Equal words have equal digests, and it is a SHA-256."""
    assert categorizer.digest == Categorizer().digest
    assert len(bytes.fromhex(categorizer.digest)) == 32


def test_what_is_no_text_is_an_error_and_no_answer(categorizer):
    """A search that fails raises: an empty answer would be one."""
    with pytest.raises(DetectorError):
        categorizer.categories([None])
