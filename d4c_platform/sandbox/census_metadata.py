"""What Statistics Canada would say of the shipped table: its `getCubeMetadata` object and the stacked `…_MetaData.csv`.

Not here: the figures and the rows (`census`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from d4c_platform.sandbox.census import CANADA, DIMENSION, MEASURES, PLACES, PRODUCT_ID, CensusRelease, Language

TITLE = {
    "eng": "Population counts: Canada, provinces and territories",
    "fra": "Chiffres de population : Canada, provinces et territoires",
}
NOTE = {
    "eng": "Written for the Data for Canada sandbox from the published census counts; not Statistics Canada's own file.",
    "fra": "Écrit pour le bac à sable de Data for Canada d'après les chiffres publiés ; "
    "ce n'est pas le fichier de Statistique Canada.",
}
SYMBOLS = {
    "eng": (("not available for a specific reference period", ".."), ("preliminary", "p"), ("revised", "r")),
    "fra": (("indisponible pour une période de référence précise", ".."), ("provisoire", "p"), ("révisé", "r")),
}


def metadata(release: CensusRelease) -> dict[str, Any]:
    """The `getCubeMetadata` object."""
    points = len(release.censuses) * len(PLACES) * len(MEASURES)
    return {
        "responseStatusCode": 0,
        "productId": PRODUCT_ID,
        "cansimId": None,
        "cubeTitleEn": TITLE["eng"],
        "cubeTitleFr": TITLE["fra"],
        "cubeStartDate": f"{release.censuses[0]}-01-01",
        "cubeEndDate": f"{release.censuses[-1]}-01-01",
        "frequencyCode": 16,  # every five years
        "nbSeriesCube": len(PLACES) * len(MEASURES),
        "nbDatapointsCube": points,
        "releaseTime": release.released_at.strftime("%Y-%m-%dT%H:%M"),
        "archiveStatusCode": "2",
        "archiveStatusEn": "CURRENT - a cube available to the public and that is current",
        "archiveStatusFr": "ACTIF - un cube qui est disponible au public et qui est toujours mise a jour",
        "subjectCode": ["17"],
        "surveyCode": ["3901"],
        "dimension": [_geography(release), _measures()],
        "footnote": [
            {
                "footnoteId": 1,
                "footnotesEn": NOTE["eng"],
                "footnotesFr": NOTE["fra"],
                "link": {"footnoteId": 1, "dimensionPositionId": 0, "memberId": 0},
            }
        ],
        "correctionFootnote": [],
        "correction": [],
    }


def _geography(release: CensusRelease) -> dict[str, Any]:
    members = [
        {
            "memberId": member,
            "parentMemberId": None if place is CANADA else 1,
            "memberNameEn": place.en,
            "memberNameFr": place.fr,
            "classificationCode": place.code,
            "classificationTypeCode": "1",
            "geoLevel": 0 if place is CANADA else 2,
            "vintage": release.geography,
            "terminated": 0,
            "memberUomCode": None,
        }
        for member, place in enumerate(PLACES, start=1)
    ]
    return {
        "dimensionPositionId": 1,
        "dimensionNameEn": "Geography",
        "dimensionNameFr": "Géographie",
        "hasUom": False,
        "member": members,
    }


def _measures() -> dict[str, Any]:
    members = [
        {
            "memberId": position,
            "parentMemberId": None,
            "memberNameEn": measure.en,
            "memberNameFr": measure.fr,
            "classificationCode": None,
            "classificationTypeCode": None,
            "geoLevel": None,
            "vintage": None,
            "terminated": 0,
            "memberUomCode": measure.unit_id,
        }
        for position, measure in enumerate(MEASURES, start=1)
    ]
    return {
        "dimensionPositionId": 2,
        "dimensionNameEn": DIMENSION["eng"],
        "dimensionNameFr": DIMENSION["fra"],
        "hasUom": True,
        "member": members,
    }


def metadata_csv(release: CensusRelease, language: Language) -> str:
    """The stacked tables of `…_MetaData.csv`, with the publisher's mix of quoted and bare cells."""
    english = language == "eng"
    mark = "," if english else ";"
    sections = [
        [METADATA_HEADERS[language][0], _cube_row(release, language)],
        [METADATA_HEADERS[language][1], ("1", '"Geography"' if english else '"Géographie"', "", ""),
         ("2", f'"{DIMENSION[language]}"', "", "")],
        [METADATA_HEADERS[language][2], *_member_rows(language)],
        [METADATA_HEADERS[language][3], METADATA_HEADERS[language][4],
         *((f'"{text}"', symbol) for text, symbol in SYMBOLS[language])],
        [METADATA_HEADERS[language][5], ("3901", '"Census of Population"' if english else '"Recensement de la population"')],
        [METADATA_HEADERS[language][6], ("17", '"Population and demography"' if english else '"Population et démographie"')],
        [METADATA_HEADERS[language][7], ("1", f'"{NOTE[language]}"')],
        [METADATA_HEADERS[language][8]],
    ]  # fmt: skip
    return "\ufeff" + "\n".join("".join(mark.join(row) + "\n" for row in section) for section in sections)


METADATA_HEADERS: dict[Language, tuple[tuple[str, ...], ...]] = {
    "eng": (
        ('"Cube Title"', '"Product Id"', '"CANSIM Id"', "URL", '"Cube Notes"', '"Archive Status"', "Frequency",
         '"Start Reference Period"', '"End Reference Period"', '"Total number of dimensions"'),
        ('"Dimension ID"', '"Dimension name"', '"Dimension Notes"', '"Dimension Definitions"'),
        ('"Dimension ID"', '"Member Name"', '"Classification Code"', '"Member ID"', '"Parent Member ID"', "Terminated",
         '"Member Notes"', '"Member Definitions"'),
        ("Symbol Legend",),
        ("Description", "Symbol"),
        ('"Survey Code"', '"Survey Name"'),
        ('"Subject Code"', '"Subject Name"'),
        ('"Note ID"', "Note"),
        ('"Correction ID"', '"Correction Date"', '"Correction Note"'),
    ),
    "fra": (
        ('"Titre du cube"', '"Numéro d\'identification du produit"', '"Numéro d\'identification CANSIM"', "URL",
         '"Notes du cube"', '"État de l\'archive"', "Fréquence", '"Début de la période de référence"',
         '"Fin de la période de référence"', '"Nombre total de dimensions"'),
        ('"Numéro d\'identification de la dimension"', '"Nom de la dimension"', '"Notes de la dimension"',
         '"Définitions de la dimension"'),
        ('"Numéro d\'identification de la dimension"', '"Nom du membre"', '"Code sur la classification"',
         '"Numéro d\'identification du membre"', '"Numéro d\'identification du membre parent"', "Terminé",
         '"Notes du membre"', '"Définitions du membre"'),
        ("Légende Symbole",),
        ("Description", "Symbole"),
        ('"Code d\'enquête"', '"Nom de l\'enquête"'),
        ('"Code du sujet"', '"Nom du sujet"'),
        ('"Numéro d\'identification de la note"', "Note"),
        ('"Numéro d\'identification de la correction"', '"Date de la correction"', '"Note de correction"'),
    ),
}  # fmt: skip


def _cube_row(release: CensusRelease, language: Language) -> tuple[str, ...]:
    english = language == "eng"
    url = f"https://www150.statcan.gc.ca/t1/tbl1/{'en' if english else 'fr'}/tv.action?pid={PRODUCT_ID}01"
    status = metadata(release)["archiveStatusEn" if english else "archiveStatusFr"]
    return (
        f'"{TITLE[language]}"',
        PRODUCT_ID,
        "",
        f'"{url}"',
        "1",
        f'"{status}"',
        '"Every 5 years"' if english else '"Aux 5 ans"',
        f"{release.censuses[0]}-01-01",
        f"{release.censuses[-1]}-01-01",
        "2",
        "",  # the publisher's value row is one cell longer than its header
    )


def _member_rows(language: Language) -> Iterator[tuple[str, ...]]:
    english = language == "eng"
    for member, place in enumerate(PLACES, start=1):
        name = place.en if english else place.fr
        yield "1", f'"{name}"', f"[{place.code}]", str(member), "" if place is CANADA else "1", "", "", ""
    for position, measure in enumerate(MEASURES, start=1):
        yield "2", f'"{measure.en if english else measure.fr}"', "", str(position), "", "", "", ""
