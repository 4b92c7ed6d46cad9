"""Units that labels come in: how many times the number in eV and Å each one is."""

from ase import units

# name of the unit: what 1 eV/Å is in it
FORCES = {
    "Ha/Bohr": units.Bohr / units.Hartree,
    "Ry/Bohr": units.Bohr / units.Rydberg,
    "eV/Bohr": units.Bohr,
    "Ha/Å": 1 / units.Hartree,
    "Ry/Å": 1 / units.Rydberg,
    "kcal/(mol Å)": units.mol / units.kcal,
    "kJ/(mol Å)": units.mol / units.kJ,
    "kcal/(mol Bohr)": units.Bohr * units.mol / units.kcal,
    "kJ/(mol nm)": 10 * units.mol / units.kJ,
    "eV/nm": 10.0,
    "meV/Å": 1000.0,
}
# of 1 eV
ENERGY = {
    "Ha": 1 / units.Hartree,
    "Ry": 1 / units.Rydberg,
    "kcal/mol": units.mol / units.kcal,
    "kJ/mol": units.mol / units.kJ,
    "meV": 1000.0,
}
# of 1 eV/Å^3
STRESS = {
    "GPa": 1 / units.GPa,
    "kbar": 10 / units.GPa,
    "bar": 1e4 / units.GPa,
    "MPa": 1e3 / units.GPa,
    "Pa": 1e9 / units.GPa,
    "Ha/Bohr^3": units.Bohr**3 / units.Hartree,
    "Ry/Bohr^3": units.Bohr**3 / units.Rydberg,
}
