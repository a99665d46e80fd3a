"""The values that fill a `{slot}` of a phrase.

Companies and people are invented; e-mail addresses lie under example.com and example.org, phone numbers in ranges
reserved for fiction, IBANs and card numbers are the test values that public documentation prints.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

Slot = Callable[[Random], str]

_FIRST = (
    "Alma", "Bruno", "Carla", "Deniz", "Elif", "Farid", "Greta", "Hugo", "Ines", "Jonas", "Kemal", "Lena", "Marek",
    "Nadia", "Oskar", "Priya", "Quentin", "Rosa", "Samir", "Tilda", "Umut", "Vera", "Wanda", "Yusuf", "Zoe",
)  # fmt: skip
_LAST = (
    "Ashdown", "Berg", "Castellan", "Dorn", "Eklund", "Fairley", "Gruber", "Holm", "Ivers", "Jansky", "Kaya",
    "Lindqvist", "Moreau", "Novik", "Okafor", "Pereira", "Quist", "Rahimi", "Sandoval", "Thorne", "Ueda", "Yildiz",
)  # fmt: skip
_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_CITIES = (
    "Lisbon", "Leeds", "Gdansk", "Izmir", "Utrecht", "Ghent", "Porto", "Bergen", "Turin", "Malmo", "Graz", "Cork",
    "Lyon", "Split", "Denver", "Austin", "Boston", "Seattle", "Toronto", "Osaka", "Hanoi", "Nairobi", "Lima", "Perth",
)  # fmt: skip
_COUNTRIES = (
    "Portugal", "Turkey", "Japan", "Brazil", "Kenya", "Norway", "Vietnam", "Canada", "Mexico", "Poland", "Greece",
    "India", "Morocco", "Chile", "Iceland", "Croatia", "New Zealand", "South Korea", "Peru", "Thailand",
)  # fmt: skip
_MERCHANTS = (
    "Larch & Lane Coffee", "Pinebrook Grocers", "Tallow Books", "Fennel Kitchenware", "Copperleaf Outfitters",
    "Bluewater Fuel", "Oakmoor Pharmacy", "Kestrel Bikes", "Sundial Electronics", "Marrow & Thyme",
    "Velvet Fern Florist", "Gullwing Parking",
)  # fmt: skip
_RESTAURANTS = (
    "The Crooked Spoon",
    "Casa Alecrim",
    "Nine Lanterns",
    "Old Mill Bistro",
    "Saffron Yard",
    "Blue Heron Grill",
)
_BANKS = ("Harbour Mutual", "Northfield Savings", "Alder Trust", "Bank of Westmere", "Quarry Credit Union")
_ITEMS = (
    "rucksack",
    "desk lamp",
    "coffee grinder",
    "winter coat",
    "tent",
    "keyboard",
    "kettle",
    "guitar",
    "bike helmet",
)
_UTILITIES = ("electricity", "water", "gas", "internet", "phone", "credit card")
_FOODS = (
    "oat milk",
    "tomatoes",
    "rye bread",
    "lentils",
    "butter",
    "a bag of rice",
    "apples",
    "dish soap",
    "coffee filters",
)
_PLACES = ("post office", "pharmacy", "train station", "library", "car park", "swimming pool", "bakery")
_PHRASES = (
    "good evening",
    "where is the exit",
    "I am allergic to nuts",
    "a glass of water",
    "see you soon",
    "the bill",
)
_LANGUAGES = ("Portuguese", "Turkish", "Japanese", "Swahili", "Norwegian", "Polish", "Greek", "Vietnamese", "Icelandic")
_ROOMS = ("kitchen", "bedroom", "hallway", "garage", "bathroom", "living room", "office")
_CURRENCIES = ("euros", "pounds", "dollars", "Swiss francs", "zloty", "Turkish lira", "yen", "kroner")
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_SMALL_NUMBERS = ("two", "three", "four", "five", "six", "seven", "9", "3", "4", "5", "8", "10", "12")
_IBANS = ("DE89 3704 0044 0532 0130 00", "GB82 WEST 1234 5698 7654 32", "FR1420041010050500013M02606")
_CARDS = ("4111 1111 1111 1111", "5555 5555 5555 4444", "4242424242424242")


def person(random: Random) -> str:
    """An invented first and last name."""
    return f"{random.choice(_FIRST)} {random.choice(_LAST)}"


def phone(random: Random) -> str:
    """A number that the regulators of the US and the UK keep for fiction."""
    if random.random() < 0.5:
        return f"+1-202-555-01{random.randrange(100):02d}"
    return f"020 7946 0{random.randrange(1000):03d}"


def email(random: Random) -> str:
    """An address under a domain reserved for examples."""
    name = person(random).lower().replace(" ", ".")
    return f"{name}@example.{random.choice(('com', 'org'))}"


def _money(low: float, high: float) -> Slot:
    def draw(random: Random) -> str:
        value = random.uniform(low, high)
        number = f"{value:.2f}" if random.random() < 0.6 else f"{round(value)}"
        return random.choice(("€{}", "{} EUR", "£{}", "${}", "{} euros", "{} USD")).format(number)

    return draw


def _date(random: Random) -> str:
    day, month = random.randint(1, 28), random.choice(_MONTHS)
    forms = (f"{day} {month}", f"{month} {day}", f"{month[:3]} {day}", f"{day:02d}/{_MONTHS.index(month) + 1:02d}")
    return random.choice((*forms, random.choice(_WEEKDAYS)))


def _time(random: Random) -> str:
    hour, minute = random.randint(1, 12), random.choice((0, 5, 15, 20, 30, 45))
    return random.choice(
        (f"{hour}:{minute:02d}", f"{hour} o'clock", f"{hour} {random.choice(('am', 'pm'))}", f"half past {hour}")
    )


def _order(random: Random) -> str:
    return f"order {random.randint(10000, 99999)}-{random.choice('ABCDEF')}"


def _reference(random: Random) -> str:
    return f"TX-{random.randint(100000, 999999)}"


def _flight(random: Random) -> str:
    return f"{random.choice(('ZQ', 'XV', 'QY'))}{random.randint(100, 989)}"


def _integer(low: int, high: int) -> Slot:
    def draw(random: Random) -> str:
        return str(random.randint(low, high))

    return draw


def among(values: tuple[str, ...]) -> Slot:
    """A slot that is filled with any of `values`."""

    def draw(random: Random) -> str:
        return random.choice(values)

    return draw


SLOTS: dict[str, Slot] = {
    "name": person,
    "phone": phone,
    "email": email,
    "iban": among(_IBANS),
    "card": among(_CARDS),
    "amount": _money(12, 1400),
    "small": _money(1.5, 9),
    "date": _date,
    "time": _time,
    "month": among(_MONTHS),
    "weekday": among(_WEEKDAYS),
    "days": among(_SMALL_NUMBERS),
    "number": _integer(2, 9),
    "teen": _integer(11, 17),
    "degrees": _integer(16, 24),
    "ending": _integer(1001, 9899),
    "order": _order,
    "reference": _reference,
    "flight": _flight,
    "city": among(_CITIES),
    "other_city": among(_CITIES),
    "country": among(_COUNTRIES),
    "merchant": among(_MERCHANTS),
    "restaurant": among(_RESTAURANTS),
    "bank": among(_BANKS),
    "item": among(_ITEMS),
    "utility": among(_UTILITIES),
    "food": among(_FOODS),
    "other_food": among(_FOODS),
    "place": among(_PLACES),
    "phrase": among(_PHRASES),
    "language": among(_LANGUAGES),
    "room": among(_ROOMS),
    "currency": among(_CURRENCIES),
    "other_currency": among(_CURRENCIES),
}
