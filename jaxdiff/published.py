"""Foundation models that upstream has published: addresses, licences, hashes, heads."""

import dataclasses
import types
from collections.abc import Mapping

DEFAULT = "lif-compact"
"""Name of the model that is part of the package."""

ASL = "ASL"


@dataclasses.dataclass(frozen=True)
class Foundation:
    """One published model: `url` of its .model file, `license` (MIT or ASL), training data.

    ASL is the Academic Software License: academic, non-commercial use only. `upstream` is
    the name that mace-torch's `mace_mp` has for it.
    """

    url: str
    license: str
    trained_on: str
    upstream: str | None = None

    @property
    def file_name(self) -> str:
        """Name of the file, upstream's own."""
        return self.url.rpartition("/")[2]


_RELEASES = "https://github.com/ACEsuit/{}/releases/download"
_MP, _FOUNDATIONS = _RELEASES.format("mace-mp"), _RELEASES.format("mace-foundations")
_OFF = "https://raw.githubusercontent.com/ACEsuit/mace-off/main"
_MACE = "https://github.com/ACEsuit/mace/raw/main/mace/calculators/foundations_models"
_MPTRJ, _SPICE = "MPtrj (PBE+U)", "SPICE (ωB97M-D3(BJ)), molecules"
_MANY = "several data sets, a head each"

FOUNDATIONS: Mapping[str, Foundation] = types.MappingProxyType(
    {
        "mace-mpa-0-medium": Foundation(
            f"{_MP}/mace_mpa_0/mace-mpa-0-medium.model",
            "MIT",
            "MPtrj + sAlex (PBE+U)",
            "medium-mpa-0",
        ),
        "mace-mp-0a-small": Foundation(
            f"{_MP}/mace_mp_0/2023-12-10-mace-128-L0_energy_epoch-249.model",
            "MIT",
            _MPTRJ,
            "small",
        ),
        "mace-mp-0a-medium": Foundation(
            f"{_MP}/mace_mp_0/2023-12-03-mace-128-L1_epoch-199.model",
            "MIT",
            _MPTRJ,
            "medium",
        ),
        "mace-mp-0a-large": Foundation(
            f"{_MP}/mace_mp_0/MACE_MPtrj_2022.9.model", "MIT", _MPTRJ, "large"
        ),
        "mace-mp-0b-small": Foundation(
            f"{_MP}/mace_mp_0b/mace_agnesi_small.model", "MIT", _MPTRJ, "small-0b"
        ),
        "mace-mp-0b-medium": Foundation(
            f"{_MP}/mace_mp_0b/mace_agnesi_medium.model", "MIT", _MPTRJ, "medium-0b"
        ),
        "mace-mp-0b2-small": Foundation(
            f"{_MP}/mace_mp_0b2/mace-small-density-agnesi-stress.model",
            "MIT",
            _MPTRJ,
            "small-0b2",
        ),
        "mace-mp-0b2-medium": Foundation(
            f"{_MP}/mace_mp_0b2/mace-medium-density-agnesi-stress.model",
            "MIT",
            _MPTRJ,
            "medium-0b2",
        ),
        "mace-mp-0b2-large": Foundation(
            f"{_MP}/mace_mp_0b2/mace-large-density-agnesi-stress.model",
            "MIT",
            _MPTRJ,
            "large-0b2",
        ),
        "mace-mp-0b3-medium": Foundation(
            f"{_MP}/mace_mp_0b3/mace-mp-0b3-medium.model", "MIT", _MPTRJ, "medium-0b3"
        ),
        "mace-omat-0-small": Foundation(
            f"{_MP}/mace_omat_0/mace-omat-0-small.model",
            ASL,
            "OMat24 (PBE+U)",
            "small-omat-0",
        ),
        "mace-omat-0-medium": Foundation(
            f"{_MP}/mace_omat_0/mace-omat-0-medium.model",
            ASL,
            "OMat24 (PBE+U)",
            "medium-omat-0",
        ),
        "mace-matpes-pbe-0": Foundation(
            f"{_FOUNDATIONS}/mace_matpes_0/MACE-matpes-pbe-omat-ft.model",
            ASL,
            "OMat24, then MatPES (PBE)",
            "mace-matpes-pbe-0",
        ),
        "mace-matpes-r2scan-0": Foundation(
            f"{_FOUNDATIONS}/mace_matpes_0/MACE-matpes-r2scan-omat-ft.model",
            ASL,
            "OMat24, then MatPES (r2SCAN)",
            "mace-matpes-r2scan-0",
        ),
        "mace-mh-0": Foundation(
            f"{_FOUNDATIONS}/mace_mh_1/mace-mh-0.model", ASL, _MANY, "mh-0"
        ),
        "mace-mh-1": Foundation(
            f"{_FOUNDATIONS}/mace_mh_1/mace-mh-1.model", ASL, _MANY, "mh-1"
        ),
        "mace-omol-0": Foundation(
            f"{_FOUNDATIONS}/mace_omol_0/MACE-omol-0-extra-large-1024.model",
            ASL,
            "OMol25 (ωB97M-V)",
        ),
        "mace-off23-small": Foundation(
            f"{_OFF}/mace_off23/MACE-OFF23_small.model", ASL, _SPICE
        ),
        "mace-off23-medium": Foundation(
            f"{_OFF}/mace_off23/MACE-OFF23_medium.model", ASL, _SPICE
        ),
        "mace-off23-large": Foundation(
            f"{_OFF}/mace_off23/MACE-OFF23_large.model", ASL, _SPICE
        ),
        "mace-off24-medium": Foundation(
            f"{_OFF}/mace_off24/MACE-OFF24_medium.model", ASL, _SPICE
        ),
        "mace-ani-cc": Foundation(
            f"{_MACE}/ani500k_large_CC.model", "MIT", "ANI-1ccx (CCSD(T))"
        ),
    }
)
"""The models that can be fetched by name."""

HEADS: Mapping[str, str] = types.MappingProxyType(
    {
        "omat_pbe": "for crystals: OMat24, PBE and PBE+U without dispersion",
        "matpes_r2scan": "for crystals: MatPES, r2SCAN without dispersion",
        "mp_pbe_refit_add": "for crystals: the Materials Project, PBE and PBE+U",
        "oc20_usemppbe": "surfaces with adsorbates: OC20",
        "omol": "molecules: OMol25, ωB97M-V",
        "spice_wB97M": "molecules: SPICE, ωB97M-D3(BJ)",
        "rgd1_b3lyp": "reactions of molecules: RGD1, B3LYP",
    }
)
"""What the heads of published models are meant for."""

PINNED: Mapping[str, str] = types.MappingProxyType(
    {
        "mace-mh-0.model": (
            "d62ff8f293664e6556cfa49364b28ee72a70cf1e6150f3c111a578397fed609d"
        ),
        "mace-mh-1.model": (
            "a522eb7f59c7879963d41586528f4980baf33e086c94aa92e3eafdeccad3be47"
        ),
        "MACE-omol-0-extra-large-1024.model": (
            "9b64b4fd5153ca578c694abc57806d8111050de6ff652e695c9b525bc4d36469"
        ),
        "MACE-OFF23_small.model": (
            "165cce4cfec5a34b9c64d4ebf95de15d71106bb584b7291c8470f0749977c46f"
        ),
        "MACE-OFF23_medium.model": (
            "4842c52ad210d6e1f84d6cf1ffa70fae25a7e0d755ed55cf223f43913f587db7"
        ),
        "MACE-OFF23_large.model": (
            "a29e397dbf3e7a24ac50a9b0dfc919bd5a62efa346f5895a6237b0950c1d76f4"
        ),
        "MACE-OFF24_medium.model": (
            "e5ccf5837f685899811a68754e7c994393bfd1a81720393b03c643b46c70bc69"
        ),
    }
)
"""SHA-256 by file name of upstream's files, where others have recorded and told it."""
