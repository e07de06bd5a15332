"""Words that say what a thing is and not which one: they stay in a surrogate. All folded."""

from __future__ import annotations

from gateway.pii.forms import fold


def folded(text: str) -> frozenset[str]:
    """The words of a text, folded."""
    return frozenset(fold(word) for word in text.split())


CONNECTORS = folded(
    "of the and for at in on by to a an upon near de del la el las los le les du des d l y e et "
    "und der die das den dem des am an im bei in zu zum zur von vom fur auf ob sur sous sous en di "
    "della do da dos das van het te op s st ste"
)

STREETS = folded(
    "street st avenue ave av road rd drive dr lane ln boulevard blvd court ct place pl square sq "
    "terrace ter way highway hwy parkway pkwy circle cir trail trl alley crescent close row walk "
    "route rt apartment apt suite ste unit floor fl room rm bed ward box po p building bldg block "
    "house north south east west northeast northwest southeast southwest n s e w ne nw se sw "
    "county city town township village parish district borough "
    "rue avenue boulevard bd place chemin allee impasse quai cours route bis ter cedex etage "
    "calle c avenida avda plaza paseo camino carretera ctra ronda travesia piso puerta numero no n "
    "strasse str weg platz allee gasse ring ufer damm chaussee postfach zimmer stock haus nr "
    "landkreis kreis bezirk stadt ortsteil via viale piazza corso straat laan plein rua"
)

STREET_ENDINGS = (
    *("stra\u00dfe", "strasse", "str", "gasse", "allee", "platz", "damm", "ufer", "weg", "ring"),
    *("straat", "laan", "plein"),
)

FACILITIES = folded(
    "hospital hospitals clinic clinics center centre medical health healthcare care general "
    "regional memorial community university college school academy institute institution "
    "foundation trust group partners partnership associates association society union bank "
    "insurance assurance mutual pharmacy drugstore laboratory laboratories lab labs nursing "
    "home rehab rehabilitation hospice surgery surgical pediatric pediatrics children childrens "
    "women womens men mental psychiatric dental family practice physicians physician orthopedic "
    "orthopedics cancer heart eye vision imaging radiology emergency department unit office "
    "offices law firm legal attorneys solicitors barristers chambers services service solutions "
    "systems system technologies technology industries international national global holdings "
    "holding capital partners management consulting construction logistics transport freight "
    "shipping airlines airways motors energy media press church chapel parish cathedral temple "
    "synagogue mosque ministry high middle elementary primary secondary kindergarten preschool "
    "day daycare senior living assisted facility residence village manor house club team league "
    "party federation council committee board county city state federal district north south "
    "east west northern southern eastern western central upper lower new great hopital "
    "hospitalier hospitalo clinique centre cabinet universite universitaire ecole lycee college "
    "pharmacie laboratoire banque caisse mutuelle societe entreprise groupe association maison "
    "retraite ehpad chu chr polyclinique institut fondation eglise hospital clinica centro "
    "salud universitario universitaria universidad escuela colegio instituto farmacia "
    "laboratorio banco caja seguros sociedad empresa grupo asociacion fundacion residencia "
    "ancianos iglesia servicio unidad ambulatorio general provincial comarcal krankenhaus "
    "klinik klinikum kliniken uniklinik universitatsklinik universitatsklinikum universitat "
    "hochschule schule gymnasium grundschule praxis gemeinschaftspraxis apotheke labor bank "
    "sparkasse versicherung krankenkasse verein verband kirche gemeinde stiftung heim "
    "pflegeheim altenheim seniorenheim zentrum kanzlei rechtsanwalte notariat kreis stadt "
    "stadtisches stadtische evangelisches katholisches"
)

_CODES = (
    "AL AK AZ AR CA CO CT DE FL GA HI ID IL IN IA KS KY LA ME MD MA MI MN MS MO MT NE NV NH NJ NM "
    "NY NC ND OH OK OR PA RI SC SD TN TX UT VT VA WA WV WI WY"
)
STATES = frozenset(_CODES.split())
"""Postal codes of the states of the US: one leads to another."""
