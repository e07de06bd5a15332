"""Which placeholder stands for which value: numbers and forms, given once and never changed.

Entries are only ever added, in an order that depends on the turns so far and on nothing that
comes later. That is why the mapping of a conversation contains the mapping of its beginning.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from gateway.pii import forms
from gateway.pii.placeholders import LITERAL, label, spell
from gateway.pii.surrogates.names import Made
from gateway.pii.views import spoken

PERSONS = frozenset({"PERSON"})
"""The types whose values are names: "Schmidt" can be a shorter form of "Anna Schmidt"."""


@dataclass(slots=True)
class Entry:
    """A form of a value. ``number``: it stood as a JSON number and goes back as one.

    ``spelled``: the placeholder stands somewhere. ``made``: the surrogate that was written.
    """

    placeholder: str
    text: str = field(repr=False)
    entity_type: str
    number: bool
    restore: bool = True
    spelled: bool = False
    made: Made | None = field(default=None, repr=False)


@dataclass(slots=True)
class _Group:
    """One value (one person) in all its forms."""

    index: int
    keys: list[tuple[str, ...]] = field(repr=False)
    forms: int = 0


class Registry:
    def __init__(self) -> None:
        self.entries: dict[tuple[str, bool], Entry] = {}
        self._counts: Counter[str] = Counter()
        self._groups: dict[tuple[str, tuple[str, ...]], _Group] = {}
        self._by_word: dict[tuple[str, str], list[_Group]] = {}

    def entry(
        self, text: str, entity_type: str, *, number: bool, form_of: str | None = None
    ) -> Entry:
        """The entry of this form, made now if there is none. The first type given stays.

        ``form_of`` is the value that this text was recognised as, where that is known.
        """
        known = self.entries.get((text, number))
        if known is not None:
            return known
        name = label(entity_type)
        if entity_type != LITERAL and name == LITERAL:
            name = "VALUE"
        group = self._group(text if form_of is None else form_of, entity_type, name)
        group.forms += 1
        placeholder = spell(name, group.index, group.forms)
        entry = Entry(placeholder, text, entity_type, number)
        self.entries[text, number] = entry
        return entry

    def _group(self, text: str, entity_type: str, name: str) -> _Group:
        if entity_type == LITERAL:
            key: tuple[str, ...] = (text,)
        elif entity_type in PERSONS:
            key = forms.name_key(spoken(text)) or ("", text)
        else:
            key = forms.value_key(spoken(text))
        group = self._groups.get((name, key))
        if group is None and entity_type in PERSONS:
            group = self._namesake(name, key)
        if group is None:
            self._counts[name] += 1
            group = _Group(self._counts[name], [])
        if (name, key) not in self._groups:
            self._groups[name, key] = group
            group.keys.append(key)
            for word in set(key):
                self._by_word.setdefault((name, word), []).append(group)
        return group

    def _namesake(self, name: str, key: tuple[str, ...]) -> _Group | None:
        """The one person this name can be a form of; None where there is none or two."""
        candidates: dict[int, _Group] = {}
        for word in key:
            for group in self._by_word.get((name, word), ()):
                candidates[group.index] = group
        fitting = [
            group
            for group in candidates.values()
            if all(forms.same_person(key, other) for other in group.keys)
        ]
        return fitting[0] if len(fitting) == 1 else None
