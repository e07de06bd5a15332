"""Words and signs that measure, as they follow a number in English, French, German and Spanish.

Sources: the SI brochure (units and prefixes), UCUM's clinical units, ISO 4217 codes of their
currencies. A word that is mostly another word ("in", "a", "am") is left out.
"""

from __future__ import annotations

from typing import Final

CURRENCIES: Final = "€$£¥¢₹"
"""Signs that may also stand before their number."""
SIGNS: Final = "%‰‱٪؉؊°℃℉′″‴" + CURRENCIES  # noqa: RUF001 - look-alikes are meant
"""Signs that measure. In a grounded answer none of them stands anywhere but at its number."""

_WORDS: Final = """
º ºc ºf
kg g mg ug µg μg mcg ng pg t lb lbs oz kilogram kilograms gram grams milligram milligrams
microgram micrograms pound pounds ounce ounces kilogramme kilogrammes gramme grammes milligramme
milligrammes microgramme microgrammes kilogramm gramm milligramm mikrogramm pfund unze unzen
kilogramo kilogramos gramo gramos miligramo miligramos microgramo microgramos libra libras l dl
cl ml ul µl μl fl cc gal pt liter liters litre litres milliliter milliliters millilitre
millilitres deciliter deciliters mikroliter litro litros mililitro mililitros km m dm cm mm um
µm μm nm ft yd mi meter meters metre metres centimeter centimeters centimetre centimetres
millimeter millimeters millimetre millimetres kilometer kilometers kilometre kilometres inch
inches foot feet mile miles mètre mètres centimètre centimètres millimètre millimètres kilomètre
kilomètres zentimeter metro metros centímetro centímetros milímetro milímetros kilómetro
kilómetros s sec secs min mins h hr hrs d ms wk wks yr yrs second seconds minute minutes hour
hours day days week weeks month months year years decade decades seconde secondes heure heures
jour jours semaine semaines mois an ans année années sekunde sekunden stunde stunden tag tage
tagen woche wochen monat monate monaten jahr jahre jahren jährig jährige jähriger jährigen
segundo segundos minuto minutos hora horas día días semana semanas mes meses año años mmhg cmh2o
pa hpa kpa mpa bar mbar psi mol mmol umol µmol μmol nmol pmol meq eq mosm osm iu ui ie ku mu u
unit units unité unités einheit einheiten unidad unidades hz khz mhz ghz bpm rpm w kw mw kwh v
mv kv ma j kj kcal cal n gy mgy cgy sv msv bq mbq percent pct prozent pourcent c f k eur usd gbp
chf jpy cad aud mxn euro euros dollar dollars cent cents franken franc francs peso pesos centime
centimes céntimo céntimos million millions billion billions thousand hundred mio mrd millionen
milliarden millones mil tablet tablets capsule capsules drop drops puff puffs dose doses ampoule
ampoules patch patches comprimé comprimés gélule gélules goutte gouttes tablette tabletten
kapsel kapseln tropfen hub hübe dosis comprimido comprimidos cápsula cápsulas gota gotas gb mb
kb tb bit bits byte bytes
"""
UNITS: Final = frozenset(_WORDS.split())
"""Lower case. A unit that is joined (mg/kg, ml/min/1.73m²) is one by its first word."""
