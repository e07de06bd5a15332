"""Identifiers made of digits and letters, in the forms people paste them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from random import Random
from typing import Final

from deploy.models.ner.generate.grammar import Draw
from deploy.models.ner.generate.values.names import Person, ascii_of

CONSONANTS: Final = "BCDFGHJKLMNPQRSTVWXYZ"
LETTERS: Final = "ABCDEFGHJKLMNPQRSTUVWXYZ"


def filled(rng: Random, pattern: str) -> str:
    """``#`` a digit, ``%`` a digit from 1, ``@`` a capital, ``?`` a small letter, ``*`` either, ``^`` hex."""
    made = []
    for c in pattern:
        if c == "#":
            made.append("0123456789"[int(rng.random() * 10)])
        elif c == "%":
            made.append("123456789"[int(rng.random() * 9)])
        elif c == "@":
            made.append(rng.choice(LETTERS))
        elif c == "?":
            made.append(rng.choice("abcdefghjkmnpqrstuvwxyz"))
        elif c == "*":
            made.append(rng.choice(LETTERS + "0123456789"))
        elif c == "^":
            made.append(rng.choice("0123456789abcdef"))
        else:
            made.append(c)
    return "".join(made)


def patterns(text: str) -> Callable[[Draw], str]:
    """A maker that fills one of the patterns between spaces; an underscore stands for a space."""
    choices = [p.replace("_", " ") for p in text.split()]
    return lambda d: filled(d.rng, choices[int(d.rng.random() * len(choices))])


PHONES: Final[Mapping[str, str]] = {
    "en": "(%##)_###-#### (%##)###-#### %##-###-#### %##-###-#### %##.###.#### %##########"
    " +1-%##-###-#### +1_%##_###_#### 1-8##-###-#### 1%######### %##_###_#### +1%######### 555-#### %##-%###"
    " %##/###-#### (%##)-###-#### 1_(%##)_###-#### +44_20_7###_#### 020_7###_#### 07###_###### +44_7###_###### 01###_######"
    " +91_9####_##### 04##_###_### +61_4##_###_### %##-555-01## (%##)_555-01## +353_8#_###_#### %##_-_###_-_#### %##\u2013###\u2013####"
    " +52_55_####_#### +63_9##_###_#### +234_80#_###_#### +86_1##_####_#### +84_9#_###_####",
    "es": "6##_##_##_## 9##_###_### 6########  +34_6##_###_### 9#_###_##_## +34_9########  (+34)_6##_##_##_## 55_####_####"
    " +52_55_####_#### +54_11_####-#### 6##-###-### +57_3##_###_#### +56_9_####_#### 9##.##.##.##",
    "fr": "06_##_##_##_## 01_##_##_##_## 07.##.##.##.## +33_6_##_##_##_## 06########  04_##_##_##_## +32_4##_##_##_##"
    " +33_(0)1_##_##_##_## 02-##-##-##-## +41_22_###_##_## 514-###-#### 0033_6########",
    "de": "0%##_####### 0%##/####### +49_%##_####### 01##_######## 0%##-###### +49_(0)%##_###### 089_######-## +43_1_#######"
    " +41_44_###_##_## 0049_%##_####### 030_########  (0%##)_###### 0%###_/_#####-#",
}  # fmt: skip
PHONE_MAKERS: Final = {lang: patterns(text) for lang, text in PHONES.items()}

SHAPES: Final[Mapping[str, str]] = {
    "mrn": "####### ######## ###### ######### ########## %###### %####### MRN-####### MRN####### M####### MR###### @@-###### @@####### ###-##-### ##-##-##"
    " ###_###_### @####### H######### E######## ####-#### 00###### PT-##### PT###### P-####### @#-##### ######-@ U####### MC-####-####"
    " ##-######  @@@-####### MH######## NH-###### C##-##### %#### %#####",
    "encounter": "E######## ENC-####### V######### ########### CSN######### %######## FIN######## VN-##-##### ENC########",
    "accession": "ACC-####-##### S##-##### ##-@@-##### RAD-####### SP-##-#### A######## ##########  @@##-##### ####-####### CT-######## B##-##### C##-#### MB##-####",
    "study_id": "SUBJ-#### STU-##-### ###-#### P-### PT-###-## @@@-###-### S###-## R-##### ###-###-### STUDY##### 1###-0## PID-#####",
    "member": "@@@######### W######### ########## H######## XYZ######### @@@###@##### 9##########-## %###-@##-@@## ID######## %@@#-@@#-@@## R######## U#########-## ###########"
    " M-####### @###-#### MBR-####### YPP#########",
    "policy": "POL-####### P-######## ########## @@-######-## ###-####### @@@-###-###### #########-# GRP####-#### WC-##-##### HO######## LI-#######-@",
    "claim": "CLM-####-###### ############# CLM######## C-######## ##-####### @######## ####-##-####### 20##########",
    "auth": "AUTH-###### A######### PA-####-##### ########## REF-####### AU######## ######-@@ R-####### PA####### 1########",
    "rx": "####### RX####### ######## ######-##### RX-####### ##-#######",
    "group": "GRP-##### ##### ###### #######-### @@##### G-#### ####-### 00######",
    "account": "########## ######## ####-####-#### ACC-####### ACCT######## ######### ##-######-# A-####### ************ xxxx#### ****#### 00########## %###_####_####",
    "invoice": "INV-####-#### INV###### ######## #####-# 20##-##### INV-##### BL-#######",
    "routing": "0######## 1######## 3######## 2########",
    "license": "MD##### A##### G-##### RN-###### ###### ###-###### @@-##### LIC-####### ME###### 25MA0####### @####### 0101-###### PA-##### LMFT##### @@@####### PHY-#####",
    "driver": "@####### @########### ######### @###-####-#### @##-##-#### ########  @@@@@*###@@ @###-###-##-###-# @@###### WDL*#######",
    "bar_number": "###### ####### #####  0######",
    "serial": "SN-######## @@@###### ########## @@######@ SN####### @##-#####-## ***-####-*** RVA###### PJN######@ BLH###### *********** 0########",
    "lot": "L###### LOT##### ####@## @@####-# ##@##### A####@ ########",
    "udi": "(01)00###########(21)@####### (01)00###########(17)######(10)@##### 00###########",
    "employee_id": "E###### EMP-##### ##### ###### S-####### STU####### A00###### @@##### EMP##### %####### ID-#### B-#### S0######",
    "id_number": "ID-###### ######## @@@-####-## REF-##### #####-@ 20##/#### TKT-###### INC####### @@@@-#### REQ####### SR-###### ####-####-#### T-##### @@##@@## BADGE-####",
    "docket": "%:##-cv-0#### %:##-cr-00### 20##-CV-##### ##-@@-##### CV-##-##### @@-20##-###### 20CV##### ##-####",
    "case_number": "##-####### CASE-##### ####/## 20##-#### #####/## C-####/## ###@@##-##### @@##-##### 20##/######",
    "bates": "@@@####### @@@@_###### @@@-00#### DEF000### PLTF-######",
    "ecli": "ECLI:EU:C:20##:### ECLI:DE:BGH:20##:######U@ZR###.##.0 ECLI:FR:CCASS:20##:C1##### ECLI:ES:TS:20##:#### ECLI:CE:ECHR:20##:####JUD00#####",
    "passport": "######### @######## @@####### C######## ##@@##### %######## P####### @@@######",
    "biometric": "FP-###### FPT-########  face_id_######## IMG_####.jpg VP-####### photo_#####.jpg DSC0####.JPG iris-######## voiceprint-##### BIO-#######",
    "ssn4": "####",
    "code_word": "@@-#### @@@-### @@@###",
}  # fmt: skip

NATIONAL: Final[Mapping[str, str]] = {
    "en": "@@_##_##_##_@ @@######@ ###_###_#### ###-###-### ####_####_#### ###.###.###-## ##########  %##_###_### ###-######-##### ######-#### ###########"
    " ####_#####_# @#######@ ########-#-##",
    "es": "########@ ########-@ @#######@ ##.###.###-@ X-#######-@ ##_########_## @@@@######@@@@@@## ##/########/## Y#######@",
    "fr": "%_##_##_##_###_###_## %############## %_##_##_2@_###_### ##.##.##-###.## 756.####.####.## %##########  269############",
    "de": "##_######_@_### ########### L########  ##_###_###_### ####_###### @@@###### ###_###_###_## 756.####.####.##",
}  # fmt: skip
TAX: Final[Mapping[str, str]] = {
    "en": "##-####### 9##-7#-#### GB_###_####_## ##########  ##_###_###_### @@@@@####@",
    "es": "B######## A-######## ESB######## @@@@######@*# ##-########-#",
    "fr": "FR##_######### ###_###_### ###_###_###_##### FR########### BE_0###.###.### CHE-###.###.###",
    "de": "DE######### ##/###/##### ###/####/#### HRB_##### ATU######## CHE-###.###.###_MWST",
}  # fmt: skip
PLATES: Final[Mapping[str, str]] = {
    "en": "@@@-#### #@@@### @@@_### @@##_@@@ ###-@@@ @@@#### @##-@@@ ###_@@@ @@@-##@",
    "es": "####_@@@ ####-@@@ @-####-@@ ####@@@",
    "fr": "@@-###-@@ ###_@@@_## @@_###_@@ %-@@@-###",
    "de": "@-@@_#### @@-@_### @@@-@@_## @_@@_#### @@-@@###",
}  # fmt: skip
IBANS: Final = {
    "en": ("GB", "@@@@##############"),
    "es": ("ES", "####################"),
    "fr": ("FR", "#######################"),
    "de": ("DE", "##################"),
}
MAILS: Final = (
    "gmail.com",
    "yahoo.com",
    "hotmail.com",
    "outlook.com",
    "aol.com",
    "icloud.com",
    "example.com",
    "example.org",
    "comcast.net",
    "proton.me",
    "verizon.net",
    "mail.ru",
    "qq.com",
)
LOCAL_MAILS: Final = {
    "en": ("btinternet.com", "nhs.net"),
    "es": ("telefonica.net", "hotmail.es"),
    "fr": ("orange.fr", "free.fr", "laposte.net"),
    "de": ("gmx.de", "web.de", "t-online.de"),
}


def iban(d: Draw) -> str:
    country, rest = (
        IBANS[d.lang] if d.rng.random() < 0.75 else IBANS[d.rng.choice(("en", "es", "fr", "de"))]
    )
    body = filled(d.rng, rest)
    number = "".join(str(int(c, 36)) for c in body + country + "00")
    text = f"{country}{98 - int(number) % 97:02d}{body}"
    return (
        " ".join(text[i : i + 4] for i in range(0, len(text), 4)) if d.rng.random() < 0.6 else text
    )


def card(d: Draw) -> str:
    digits = [
        int(c)
        for c in filled(
            d.rng,
            d.rng.choice(
                ("4##############", "5%#############", "37############", "6011###########")
            ),
        )
    ]
    total = sum(sum(divmod(v * 2, 10)) if i % 2 == 0 else v for i, v in enumerate(reversed(digits)))
    text = "".join(map(str, digits)) + str(-total % 10)
    joint = d.rng.choice((" ", "-", ""))
    return joint.join((text[:4], text[4:8], text[8:12], text[12:]))


def ssn(d: Draw) -> str:
    area = d.rng.choice((d.rng.randrange(1, 666), d.rng.randrange(667, 900), 123, 987))
    joint = d.rng.choice(("-", "-", "-", "-", " ", "", ".", "\u2013"))
    text = f"{area:03d}{joint}{d.rng.randrange(1, 100):02d}{joint}{d.rng.randrange(1, 10000):04d}"
    return (
        text
        if d.rng.random() < 0.96
        else f"{d.rng.choice(('XXX-XX', '***-**', 'xxx-xx'))}-{text[-4:]}"
    )


def vin(d: Draw) -> str:
    return (
        filled(d.rng, d.rng.choice("1235JKWS"))
        + "".join(d.rng.choice("ABCDEFGHJKLMNPRSTUVWXYZ0123456789") for _ in range(10))
        + filled(d.rng, "######")
    )


def phone(d: Draw) -> str:
    lang = d.lang if d.rng.random() < 0.96 else "en"
    text = PHONE_MAKERS[lang](d)
    if lang == "en" and d.rng.random() < 0.06:
        text += d.rng.choice((" x", " ext ", " ext. ", "x", " extension ")) + filled(
            d.rng, d.rng.choice(("###", "####", "##"))
        )
    return text


def letters(name: str) -> str:
    return "".join(c for c in ascii_of(name).lower() if c.isalnum()) or "x"


def words_of(d: Draw) -> tuple[str, str]:
    """First name and surname as an address would have them: of the last person named, or of nobody."""
    person = d.last_person
    if isinstance(person, Person) and d.rng.random() > 0.1:
        first, last = letters(person.first), letters(person.last)
        if (first + last).isascii():
            return first, last
    return filled(d.rng, "????"), filled(d.rng, "?????")


def username(d: Draw) -> str:
    first, last = words_of(d)
    return d.rng.choice(
        (f"{first}{last}", f"{first[0]}{last}", f"{first}.{last}", f"{first}_{last}", f"{last}{first[0]}", f"{first}{filled(d.rng, '##')}",
         f"{last}{filled(d.rng, '###')}", f"{first[0]}{last[:6]}{filled(d.rng, '#')}", f"{first}-{last}", f"{first}{filled(d.rng, '19##')}")
    )  # fmt: skip


def handle(d: Draw) -> str:
    return ("@" if d.rng.random() < 0.6 else "") + username(d)


def domain(d: Draw) -> str:
    _, word = words_of(d)
    tail = {
        "en": ("com", "org", "net", "co.uk", "edu", "health"),
        "es": ("es", "com", "mx"),
        "fr": ("fr", "com", "be"),
        "de": ("de", "com", "at"),
    }[d.lang]
    kind = d.rng.choice(
        ("clinic", "health", "law", "med", "group", "-hospital", "", "care", "tech")
    )
    return f"{word}{kind}.{d.rng.choice(tail)}"


def email(d: Draw) -> str:
    where = d.rng.choice((*MAILS, *LOCAL_MAILS[d.lang] * 2, domain(d), domain(d), domain(d)))
    text = f"{username(d)}@{where}"
    kind = d.rng.random()
    if kind < 0.04:
        return text.upper()
    if kind < 0.07:
        return text.replace("@", d.rng.choice((" at ", " (at) ", "[at]", " @ "))).replace(
            ".", d.rng.choice((".", " dot ", "[.]"))
        )
    return text


def url(d: Draw) -> str:
    path = d.rng.choice(
        (
            "",
            "",
            f"/{username(d)}",
            f"/patients/{filled(d.rng, '######')}",
            f"/u/{username(d)}",
            f"?id={filled(d.rng, '#####')}",
            f"/profile/{filled(d.rng, '####')}",
            "/about/team",
        )
    )
    head = d.rng.choice(("https://", "https://", "http://", "www.", "https://www.", "portal.", ""))
    where = d.rng.choice(
        (
            domain(d),
            domain(d),
            domain(d),
            "facebook.com",
            "linkedin.com/in",
            "instagram.com",
            "mychart.example.org",
        )
    )
    if "." in where and not where.endswith(domain(d)[-3:]) and not path:
        path = f"/{username(d)}"
    return head + where + path


def ip(d: Draw) -> str:
    if d.rng.random() < 0.15:
        return d.rng.choice(
            (
                filled(d.rng, "2001:db8::^^^^:^^^^"),
                filled(d.rng, "fe80::^^^^:^^^^:^^^^:^^^^"),
                filled(d.rng, "2001:0db8:85a3:^^^^:^^^^:8a2e:^^^^:^^^^"),
            )
        )
    return ".".join(str(d.rng.randrange(1, 255)) for _ in range(4))


def secret(d: Draw) -> str:
    return filled(
        d.rng,
        d.rng.choice(
            (
                "sk-????????????????????????",
                "ghp_" + "*?" * 18,
                "AKIA****************",
                "?????@##!",
                "@?????####$",
                "eyJ?????????????.?????????.????????",
                "^" * 32,
                "@?????-?????-##",
                "hunter##!",
                "xoxb-##########-????????????",
            )
        ),
    )


def crypto(d: Draw) -> str:
    return filled(
        d.rng,
        d.rng.choice(("0x" + "^" * 40, "bc1q" + "?#" * 19, "1@?#@?#@??##@?@?#?@#@??@#?@?@#?@?")),
    )


MAKERS: Final[dict[str, Callable[[Draw], str]]] = {
    **{name: patterns(text) for name, text in SHAPES.items()},
    "iban": iban, "card": card, "ssn": ssn, "vin": vin, "phone": phone, "fax": phone, "username": handle, "email": email, "url": url, "ip": ip,
    "secret": secret, "crypto": crypto,
    "pager": lambda d: filled(d.rng, d.rng.choice(("####", "#####", "%##-###-####"))),
    "ext": lambda d: filled(d.rng, d.rng.choice(("####", "###", "#####", "#-####"))),
    "npi": lambda d: filled(d.rng, d.rng.choice(("1#########", "2#########"))),
    "dea": lambda d: filled(d.rng, d.rng.choice("ABFGM")) + filled(d.rng, "@#######"),
    "imei": lambda d: filled(d.rng, d.rng.choice(("35#############", "01-######-######-#", "86#############"))),
    "mac": lambda d: d.rng.choice((":", "-")).join(filled(d.rng, "^^") for _ in range(6)).upper(),
    "uuid": lambda d: str(uuid.UUID(int=d.rng.getrandbits(128), version=4)),
    "national_id": lambda d: patterns(NATIONAL[d.lang])(d),
    "tax_id": lambda d: patterns(TAX[d.lang])(d),
    "plate": lambda d: patterns(PLATES[d.lang])(d),
}  # fmt: skip
