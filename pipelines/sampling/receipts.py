"""Receipts of invented shops in five countries, as text files that an OCR tool left."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from random import Random

from pipelines.sampling.export import SampleSummary
from pipelines.sampling.records import check_size, write_text_sample
from pipelines.sampling.tickets import NOISE
from pipelines.sampling.writing import fill, load_phrases, person

MIN_RECEIPTS = 100

_PHRASES = load_phrases("receipts")
_CATEGORY_WEIGHTS = _PHRASES["category_weights"]
_TAX_TABLE_SHARE = 0.6
_CONFUSED = {
    "0": "O", "O": "0", "1": "l", "l": "1", "I": "l", "5": "S", "S": "5", "8": "B", "B": "8", "6": "b", "2": "Z",
    "o": "0", "e": "c", "c": "e", "a": "o", "n": "r", "m": "rn", "u": "v", "g": "q", "t": "f", ".": ",", ",": ".",
}  # fmt: skip
_STRAYS = ("|", "~", "_", "*", "'", "..", "-")
_RULES = ("-" * 32, "=" * 28, "." * 24, "*" * 30)


@dataclass(frozen=True)
class _Country:
    """The words of a country's receipts, and its way to write money; `phrases/receipts.toml` says what is what."""

    weight: float
    language: str
    currency: str
    scale: float
    decimals: int
    comma: bool
    tax_percent: int
    streets: list[str]
    areas: list[str]
    phone: str
    tax_id: str
    titles: list[str]
    subtotal: str
    total: list[str]
    tax: list[str]
    cash: list[str]
    card: list[str]
    change: list[str]
    cashier: list[str]
    header: list[str]
    thanks: list[str]

    def money(self, value: float) -> str:
        """An amount without its currency."""
        if not self.decimals:
            text = f"{round(value / 100) * 100:,}"
            return text if self.comma else text.replace(",", ".")
        text = f"{value:.{self.decimals}f}"
        return text.replace(".", ",") if self.comma else text

    def rounded(self, value: float) -> float:
        """An amount as prices are."""
        return round(value / 500) * 500 or 500 if not self.decimals else max(0.1, round(value * 20) / 20)


_COUNTRIES = [_Country(**values) for values in _PHRASES["countries"]]


def write_receipt_sample(folder: Path, n_documents: int = 1000, seed: int = 7) -> SampleSummary:
    """Writes one text file per receipt and `_truth.csv` into `folder`, replacing an earlier sample.

    Of the files, 8% hold another slip of paper. The truth names the expense category of each receipt.

    Raises:
        ConfigError: `n_documents` is below MIN_RECEIPTS, or the folder cannot be used or holds other files.
    """
    check_size("receipt", n_documents, MIN_RECEIPTS)
    return write_text_sample(folder, "receipt", n_documents, seed, _receipt, _other_paper)


def _receipt(random: Random) -> tuple[str, str]:
    blocks, category = receipt_blocks(random)
    return photographed(blocks, random), category


def receipt_blocks(random: Random) -> tuple[list[list[str]], str]:
    """The lines of a receipt as its till printed them, in blocks, and its category."""
    country = random.choices(_COUNTRIES, [country.weight for country in _COUNTRIES])[0]
    categories = [name for name in _CATEGORY_WEIGHTS if name in _PHRASES["items"][country.language]]
    category = random.choices(categories, [_CATEGORY_WEIGHTS[name] for name in categories])[0]
    shop = _shop(country, category, random)
    items, total = _item_lines(country, category, random)
    header = random.choice(country.header)
    blocks = [
        _head_lines(country, shop, random),
        _meta_lines(country, category, random),
        [header, *items],
        _total_lines(country, total, random),
        _tax_lines(country, total, random) if random.random() < _TAX_TABLE_SHARE else [],
        [random.choice(country.thanks)],
    ]
    return blocks, category


def _other_paper(random: Random) -> tuple[str, str]:
    """A note or a clipping that was scanned with the receipts."""
    lines = [fill(phrase, random) for phrase in random.sample(NOISE, random.randint(2, 5))]
    return photographed([[line] for line in lines], random), ""


def _shop(country: _Country, category: str, random: Random) -> str:
    template = random.choice(_PHRASES["merchants"][country.language][category])
    name = str(template.format(name=random.choice(_PHRASES["names"])))
    if country.language == "pt":
        name += random.choice(("", ", Lda", " - Sociedade Unipessoal, Lda"))
    elif country.currency == "RM":
        name += random.choice(("", " SDN BHD", " SDN. BHD.", " ENTERPRISE"))
    return name.upper() if random.random() < 0.5 else name


def _head_lines(country: _Country, shop: str, random: Random) -> list[str]:
    """Shop, address, telephone, tax number: what stands above the first rule."""

    def with_number(text: str, digits: int) -> str:
        return text.format(number=random.randrange(10 ** (digits - 1), 10**digits))

    lines = [shop, with_number(random.choice(country.streets), 2), with_number(random.choice(country.areas), 3)]
    if random.random() < 0.7:
        lines.append(with_number(country.phone, 2 if "555-01" in country.phone else 3))
    if country.tax_id and random.random() < 0.75:
        lines.append(with_number(country.tax_id, 6))
    if country.language == "id" and random.random() < 0.5:  # often only the lower half was photographed
        return [shop] if random.random() < 0.6 else []
    return [*lines, with_number(random.choice(country.titles), 4)]


def _meta_lines(country: _Country, category: str, random: Random) -> list[str]:
    """Number, date, cashier and a remark of the trade, each now and then."""
    day, month, year = random.randint(1, 28), random.randint(1, 12), random.randint(2016, 2026)
    time = f"{random.randint(7, 22)}:{random.randrange(60):02d}"
    date = random.choice(
        (f"{day:02d}/{month:02d}/{year}", f"{year}-{month:02d}-{day:02d}", f"{day:02d}-{month:02d}-{year % 100}")
    )
    lines = [random.choice((f"{date} {time}", f"Date: {date}  Time: {time}", date))]
    if country.language == "pt":
        lines[0] = lines[0].replace("Date", "Data").replace("Time", "Hora")
    if random.random() < 0.6:
        number = f"{random.choice(('CS', 'INV', 'R', 'FS A/', '#'))}{random.randrange(1000, 99999):06d}"
        lines.append(random.choice(("No: {}", "Receipt No. {}", "{}")).format(number))
    if random.random() < 0.6:
        lines.append(f"{random.choice(country.cashier)}: {person(random).split()[0]}")
    remarks = _PHRASES["remarks"][country.language].get(category, ())
    if remarks and random.random() < 0.7:
        lines.append(random.choice(remarks).format(number=random.randint(1, 59)))
    random.shuffle(lines)
    return lines


def _item_lines(country: _Country, category: str, random: Random) -> tuple[list[str], float]:
    """The lines of what was bought, all in the habit of one till, and their sum."""
    items = _PHRASES["items"][country.language][category]
    most = 2 if category in ("Fuel", "Transport/Parking/Toll") else min(len(items), random.choice((2, 4, 7, 11)))
    chosen = random.sample(items, random.randint(1, most))
    habit = random.randrange(5)
    is_quiet = random.random() < 0.4  # prints small letters
    total = 0.0
    lines = []
    for name, price in chosen:
        quantity = random.choice((1, 1, 1, 2, 3)) if category not in ("Fuel", "Services & Utilities") else 1
        unit = country.rounded(price * country.scale * random.uniform(0.8, 1.3))
        amount = quantity * unit
        total += amount
        name = name.title() if is_quiet else name
        each, sum_ = country.money(unit), country.money(amount)
        if category == "Fuel":
            rate = 1.45 * country.scale * random.uniform(0.9, 1.1)
            lines.append(f"{name} {country.money(amount / rate)}L x {rate:.3f} {country.currency} {sum_}")
        elif habit == 0:
            lines.append(f"{quantity} {name} {sum_}")
        elif habit == 1:
            lines += [name, f"  {quantity} X {each}    {sum_}"]
        elif habit == 2:
            lines.append(f"{name:<22}{quantity:>3} {each:>8} {sum_:>9}")
        elif habit == 3:
            lines += [f"{random.randrange(10**7, 10**8)} {name}", f"{quantity} @ {each} {sum_} {random.choice('SZT')}"]
        else:
            lines.append(f"{quantity}x {name} {country.currency}{sum_}")
    return lines, total


def _total_lines(country: _Country, total: float, random: Random) -> list[str]:
    """From the subtotal to the change."""
    tax = total * country.tax_percent / (100 + country.tax_percent)

    def line(word: str, value: float) -> str:
        gap = random.choice((" ", "   ", ": ", "      ", f" {country.currency} "))
        return f"{word}{gap}{country.money(value)}"

    lines = []
    if random.random() < 0.6:
        lines.append(line(country.subtotal, total - tax))
    if random.random() < 0.7:
        lines.append(line(random.choice(country.tax), tax))
    lines.append(line(random.choice(country.total), total))
    if random.random() < 0.55:
        given = country.rounded(total * random.uniform(1.0, 1.6) + country.scale)
        lines += [line(random.choice(country.cash), given), line(random.choice(country.change), given - total)]
    else:
        lines.append(line(random.choice(country.card), total))
    return lines


def _tax_lines(country: _Country, total: float, random: Random) -> list[str]:
    """The table of taxes that Malaysian and Portuguese tills print; none elsewhere."""
    net = total * 100 / (100 + country.tax_percent)
    base, tax = country.money(net), country.money(total - net)
    if country.currency == "RM":
        code = random.choice(("SR", "S", "SR @ 6%"))
        return ["GST SUMMARY   AMOUNT (RM)   TAX (RM)", f"{code}    {base}    {tax}", f"Total    {base}    {tax}"]
    if country.language == "pt":
        return ["Taxa   Base de Incidência   Valor do IVA", f"{country.tax_percent},00%   {base}   {tax}"]
    return []


def photographed(blocks: list[list[str]], random: Random) -> str:
    """The recognized text of a slip: characters misread, lines lost, columns wandering.

    Its `blocks` of lines are set off by rules, blank lines or nothing; empty lines and blocks were not printed.
    """
    quality = random.choices((0.0, 0.004, 0.015, 0.05), (35, 35, 20, 10))[0]  # misread characters
    lost = random.choice((0.0, 0.0, 0.02, 0.06))  # lines
    divider = random.choice(("", "", "\n", random.choice(_RULES)))
    lines: list[str] = []
    for block in blocks:
        printed = [line for line in block if line]
        lines += [line for line in printed if random.random() >= lost]
        if divider and printed:
            lines.append(divider.strip("\n"))
    text = "\n".join(lines).strip("\n")
    if random.random() < 0.3:
        text = re.sub(r" {2,}", lambda gap: gap[0] + " " * random.randint(0, 3), text)
    elif random.random() < 0.5:
        text = re.sub(r" {2,}", " ", text)
    return _misread(text, quality, random) + "\n" if quality else text + "\n"


def _misread(text: str, share: float, random: Random) -> str:
    characters = list(text)
    for _ in range(max(1, round(len(text) * share))):
        at = random.randrange(len(characters))
        if characters[at] == "\n":
            continue
        draw = random.random()
        if draw < 0.7:
            characters[at] = _CONFUSED.get(characters[at], characters[at])
        elif draw < 0.85:
            characters[at] = ""
        else:
            characters[at] += random.choice(_STRAYS)
    return "".join(characters)
