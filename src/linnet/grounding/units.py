"""Units of measure: what dimension each is of, and how many of the dimension's first unit it is."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True)
class Unit:
    """``factor`` times the unit that its dimension is counted in."""

    dimension: str
    factor: Decimal


# A line a dimension: factor, then the unit's symbols and names in all languages. Symbols are
# matched as they are written, names (of four letters and more, or after ~) in any case.
_TABLE: dict[str, str] = {
    "mass": """1 g ~gram ~grams ~gramme ~grammes ~gramm ~gramo ~gramos; .001 mg
        ~milligram ~milligrams ~milligramm ~milligramme ~milligrammes ~miligramo ~miligramos;
        .000001 µg μg mcg
        ~microgram ~micrograms ~mikrogramm ~microgramme ~microgrammes ~microgramo ~microgramos;
        .000000001 ng ~nanogram ~nanograms ~nanogramm; 1000 kg ~kilogram ~kilograms ~kilo ~kilos
        ~kilogramm ~kilogramme ~kilogrammes ~kilogramo ~kilogramos; 1000000 t ~tonne ~tonnes
        ~tonnen ~tonelada ~toneladas ~ton ~tons; 453.59237 lb lbs ~pound ~pounds; 28.349523125
        oz ~ounce ~ounces""",
    "length": """1 m ~meter ~meters ~metre ~metres ~metern ~mètre ~mètres ~metro ~metros; .01 cm
        ~centimeter ~centimeters ~centimetre ~centimetres ~zentimeter ~zentimetern ~centimètre
        ~centimètres ~centímetro ~centímetros; .001 mm ~millimeter ~millimeters ~millimetre
        ~millimetres ~millimetern ~millimètre ~millimètres ~milímetro ~milímetros; .000001 µm μm
        ~micrometer ~micrometers ~micron ~microns; .000000001 nm ~nanometer ~nanometers; 1000 km
        ~kilometer ~kilometers ~kilometre ~kilometres ~kilometern ~kilomètre ~kilomètres
        ~kilómetro ~kilómetros; .0254 ~inch ~inches ~zoll ~pouce ~pouces ~pulgada ~pulgadas;
        .3048 ft ~foot ~feet; .9144 ~yard ~yards; 1609.344 mi ~mile ~miles ~meilen ~milla
        ~millas""",
    "volume": """1 l L ~liter ~liters ~litre ~litres ~litern ~litro ~litros; .001 ml mL ~milliliter
        ~milliliters ~millilitre ~millilitres ~mililitro ~mililitros cc; .1 dl dL ~deciliter
        ~deciliters; .01 cl cL; 3.785411784 ~gallon ~gallons""",
    "time": """1 s sec ~second ~seconds ~sekunde ~sekunden ~seconde ~secondes ~segundo ~segundos;
        .001 ms ~millisecond ~milliseconds ~millisekunde ~millisekunden; .000001 µs μs ~microsecond
        ~microseconds; .000000001 ns ~nanosecond ~nanoseconds; 60 min ~minute ~minutes ~minuten
        ~minuto ~minutos; 3600 h hr hrs ~hour ~hours ~stunde ~stunden ~heure ~heures ~hora
        ~horas; 86400 ~day ~days ~tag ~tage ~tagen ~jour ~jours ~día ~días; 604800 ~week ~weeks
        ~woche ~wochen ~semaine ~semaines ~semana ~semanas""",
    "months": """1 ~month ~months ~monat ~monate ~monaten ~mois ~mes ~meses; 12 ~year ~years yr yrs
        ~jahr ~jahre ~jahren ~an ~ans ~année ~années ~año ~años; 120 ~decade ~decades ~jahrzehnt
        ~jahrzehnte ~jahrzehnten ~décennie ~décennies ~década ~décadas""",
    "share": """1 % ~percent ~prozent ~percentage; .1 ‰ ~promille""",
    "points": """1 ~prozentpunkt ~prozentpunkte ~prozentpunkten""",
    "data": """1 B ~byte ~bytes; 1000 kB ~kilobyte ~kilobytes; 1000000 MB ~megabyte ~megabytes;
        1000000000 GB ~gigabyte ~gigabytes; 1000000000000 TB ~terabyte ~terabytes; 1024 KiB KB;
        1048576 MiB; 1073741824 GiB; .125 ~bit ~bits""",
    "frequency": """1 Hz ~hertz; 1000 kHz; 1000000 MHz; 1000000000 GHz""",
    "power": """1 W ~watt ~watts; 1000 kW ~kilowatt ~kilowatts; 1000000 MW ~megawatt ~megawatts;
        1000000000 GW ~gigawatt ~gigawatts""",
    "energy": """1 J ~joule ~joules; 1000 kJ ~kilojoule ~kilojoules; 4184 kcal ~kilocalorie
        ~kilocalories; 4.184 cal ~calorie ~calories; 3600000 kWh""",
    "voltage": """1 V ~volt ~volts; .001 mV; 1000 kV""",
    "pressure": """1 Pa ~pascal; 100 hPa; 1000 kPa; 100000 ~bar; 133.322387415 mmHg""",
    "amount": """1 mol; .001 mmol; .000001 µmol μmol""",
    "activity": "1 IU IE UI",
    "Celsius": "1 °C ~celsius",
    "Fahrenheit": "1 °F ~fahrenheit",
    "angle": "1 ° ~degree ~degrees ~grad ~degré ~degrés ~grado ~grados",
    "EUR": "1 € EUR ~euro ~euros; .01 ~cent ~cents ~céntimo ~céntimos",
    "USD": "1 $ USD US$ ~dollar ~dollars ~dólar ~dólares",
    "GBP": "1 £ GBP",
    "JPY": "1 ¥ JPY ~yen",
    "CHF": "1 CHF ~franken",
}

SYMBOLS: dict[str, Unit] = {}
NAMES: dict[str, Unit] = {}
for _dimension, _lines in _TABLE.items():
    for _line in _lines.split(";"):
        _factor, *_names = _line.split()
        for _name in _names:
            _unit = Unit(_dimension, Decimal(_factor))
            if _name.startswith("~"):
                NAMES[_name[1:]] = _unit
            else:
                SYMBOLS[_name] = _unit

CURRENCIES = {sign: SYMBOLS[sign] for sign in ("€", "$", "£", "¥")}
"""What may stand before a number."""

CONVERTIBLE = (
    frozenset(("time", "months")),
    frozenset(("Celsius", "Fahrenheit", "angle")),
    frozenset(("EUR", "USD", "GBP", "JPY", "CHF")),
)
"""Dimensions between which no rule decides whether amounts are equal."""


def unit(text: str) -> Unit | None:
    """The unit of a symbol or name; None for other words."""
    return SYMBOLS.get(text) or NAMES.get(text.casefold())
