"""Values of the slots: names, places, dates, numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from deploy.models.ner.generate.grammar import Draw, TemplateError, Values
from deploy.models.ner.generate.values import dates, names, numbers, places, text

MAKERS: Final[Mapping[str, Callable[[Draw], str]]] = {
    **text.MAKERS, **numbers.MAKERS, **dates.MAKERS, **places.MAKERS,
}  # fmt: skip


class Makers(Values):
    """The value makers in use; lexicons stand in where no maker has the name."""

    def make(self, draw: Draw, name: str) -> str:
        maker = MAKERS.get(name)
        if maker is not None:
            return maker(draw)
        if not places.lexicon(name, draw.lang):
            message = f"no value for {name}"
            raise TemplateError(message)
        return places.pick(draw, name)

    def person(self, draw: Draw, variable: str, form: str, sex: str) -> str:
        known = draw.persons.get(variable)
        if not isinstance(known, names.Person):
            main = draw.persons.get("p1")
            family = main if variable[0] == "r" and isinstance(main, names.Person) else None
            known = names.new_person(draw.rng, draw.names or draw.lang, draw.held_out, sex, family)
            if variable != "person":
                draw.persons[variable] = known
        draw.last_person = known
        return names.form(known, form, draw.rng, draw.lang)

    def knows(self, name: str, lang: str) -> bool:
        if name.startswith("."):
            return name[1:] in names.FORMS
        return name in MAKERS or bool(places.lexicon(name, lang))
