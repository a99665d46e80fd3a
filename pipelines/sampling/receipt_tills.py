"""Receipts as tills of several countries print them: their words, their money, their lines."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from pipelines.sampling.receipt_items import ITEMS, MERCHANTS, REMARKS
from pipelines.sampling.slots import person

_NAMES = (
    "Kelopak", "Anggerik Biru", "Sunway Lantern", "Three Otters", "Bluebell", "Moonquill", "Cedar & Salt",
    "Harimau Kecil", "Old Compass", "Pelican Row", "Gilded Teapot", "Seri Bayu", "Marigold", "Tin Whistle", "Northwind",
    "Lumba Lumba", "Papaya Hill", "Green Ladder", "Copper Owl", "Wandering Goat", "Quince", "Santa Brisa",
    "Monte Farol", "Ponte Nova", "Estrela do Cabo", "Dois Moinhos", "Vale Claro", "Sinar Pagi", "Bukit Rindu",
    "Teluk Kencana", "Cahaya Lama",
)  # fmt: skip


@dataclass(frozen=True)
class Country:
    """The words of a country's receipts, and its way to write money.

    Attributes:
        scale: price of what costs one euro.
        decimals: digits after the point; 0 for thousands alone.
        tax_percent: contained in the prices.
        areas: second lines of an address, {number} is a post code.
    """

    language: str
    currency: str
    scale: float
    decimals: int
    comma: bool
    tax_percent: int
    streets: tuple[str, ...]
    areas: tuple[str, ...]
    phone: str
    tax_id: str
    titles: tuple[str, ...]
    subtotal: str
    total: tuple[str, ...]
    tax: tuple[str, ...]
    cash: tuple[str, ...]
    card: tuple[str, ...]
    change: tuple[str, ...]
    cashier: tuple[str, ...]
    header: tuple[str, ...]
    thanks: tuple[str, ...]

    def money(self, value: float) -> str:
        """An amount without its currency."""
        if not self.decimals:
            text = f"{round(value / 100) * 100:,}"
            return text if self.comma else text.replace(",", ".")
        text = f"{value:.{self.decimals}f}"
        return text.replace(".", ",") if self.comma else text


_ENGLISH_THANKS = ("THANK YOU, PLEASE COME AGAIN", "Thank you!", "Goods sold are not refundable", "HAVE A NICE DAY", "")
COUNTRIES: tuple[tuple[float, Country], ...] = (
    (0.4, Country(
        "en", "RM", 4.2, 2, False, 6, ("Jalan Kenari {number}/2", "Lot {number}, Jalan Angin",
        "No. {number}, Jalan Merak"),
        ("Taman Mutiara, {number}00 Bandar Rimba", "Seksyen 9, {number}00 Kampung Seri", "{number}50 Pekan Indah"),
        "03-0000 {number}", "GST ID: 0000{number}{number}", ("TAX INVOICE", "SIMPLIFIED TAX INVOICE", "CASH BILL",
        "INVOICE"), "SUB TOTAL", ("TOTAL (INCL. GST)", "TOTAL SALES", "Total Amount", "TOTAL"), ("GST 6%",
        "Total GST @6%", "SR = 6%"),
        ("CASH", "Cash Received"), ("VISA CARD", "DEBIT CARD"), ("CHANGE", "Balance"), ("Cashier", "Served by",
        "Salesperson"),
        ("ITEM QTY U/P AMOUNT", "Description Qty Price Amt", "QTY ITEM RM", ""),
        (*_ENGLISH_THANKS, "EXCHANGE WITHIN 7 DAYS WITH RECEIPT"))),
    (0.25, Country(
        "pt", "EUR", 1.0, 2, True, 23, ("Rua das Gaivotas {number}", "Av. do Farol, {number} r/c",
        "Largo da Fonte, {number}"),
        ("{number}-012 Vila Serena", "{number}-100 Porto Calmo", "{number}-377 Aldeia do Vento"),
        "Tel: 210 000 {number}", "NIF: 000 {number}", ("Fatura Simplificada", "FATURA-RECIBO",
        "Factura/Recibo Original", "Talão de venda"), "Total Líquido", ("TOTAL EUR", "TOTAL A PAGAR",
        "Total do Documento"), ("IVA 23%", "Total IVA", "Taxa 23,00%"),
        ("NUMERARIO", "Dinheiro", "Valor Entregue"), ("MULTIBANCO", "Cartão débito"), ("TROCO", "Troco"),
        ("Operador", "Empregado", "Caixa"), ("Qtd Descrição P.Unit Valor", "DESCRICAO IVA VALOR", "Artigo Qt. Preço",
        ""),
        ("Obrigado, volte sempre", "IVA incluído à taxa em vigor", "Processado por programa certificado", ""))),
    (0.15, Country(
        "id", "Rp", 15000, 0, False, 10, ("Jl. Cemara {number}", "Jl. Pelangi Raya No. {number}"),
        ("Kota Senja", "Kec. Laut Biru", "Ruko Taman Awan Blok {number}"), "Telp 021-000{number}",
        "NPWP 00.{number}.000",
        ("", "", "STRUK", "Bill"), "Subtotal", ("TOTAL", "Total", "Grand Total"), ("Pajak 10%", "PB1 10%", "Tax 10%"),
        ("TUNAI", "CASH", "Bayar"), ("DEBIT CARD", "Kartu Debit"), ("KEMBALI", "CHANGE", "Kembali"), ("Kasir",
        "Server"),
        ("",), ("Terima kasih", "TERIMA KASIH ATAS KUNJUNGAN ANDA", ""))),
    (0.12, Country(
        "en", "$", 1.1, 2, False, 8, ("{number} Harbor Lights Ave", "{number} W 9th St", "{number} Sycamore Blvd"),
        ("Lake Verity, CA 90000", "Pine Hollow, NY 10000", "Saltgrass, FL 33000"), "(202) 555-01{number}", "",
        ("Order #{number}", "Check #{number}", "RECEIPT", ""), "SUB TOTAL", ("TOTAL", "AMOUNT DUE", "Balance Due"),
        ("Tax", "TAX 1", "Sales Tax"), ("Cash Tendered", "CASH"), ("VISA", "Credit Card"), ("CHANGE", "Change Due"),
        ("Server", "Cashier"), ("",), (*_ENGLISH_THANKS, "Suggested gratuity 18% 20% 22%"))),
    (0.08, Country(
        "en", "£", 0.9, 2, False, 20, ("{number} Lantern Road", "Unit {number}, Mill Lane"),
        ("Eldermouth ZZ{number} 9ZZ", "Upper Tansley ZZ1 {number}ZZ"), "020 7946 0{number}", "VAT No: GB 000 {number}",
        ("VAT RECEIPT", "RECEIPT", "SALE"), "Subtotal", ("TOTAL", "TOTAL TO PAY", "BALANCE DUE"), ("VAT 20%",
        "VAT incl."),
        ("CASH",), ("CONTACTLESS", "CARD"), ("CHANGE",), ("You were served by", "Operator"), ("",), _ENGLISH_THANKS)),
)  # fmt: skip


def merchant(country: Country, category: str, random: Random) -> str:
    """The name of an invented shop of the category."""
    name = random.choice(MERCHANTS[country.language][category]).format(name=random.choice(_NAMES))
    if country.language == "pt":
        name += random.choice(("", ", Lda", " - Sociedade Unipessoal, Lda"))
    elif country.currency == "RM":
        name += random.choice(("", " SDN BHD", " SDN. BHD.", " ENTERPRISE"))
    return name.upper() if random.random() < 0.5 else name


def head_lines(country: Country, shop: str, random: Random) -> list[str]:
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
    lines.append(with_number(random.choice(country.titles), 4))
    return [line for line in lines if line]


def meta_lines(country: Country, category: str, random: Random) -> list[str]:
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
    remarks = REMARKS[country.language].get(category, ())
    if remarks and random.random() < 0.7:
        lines.append(random.choice(remarks).format(number=random.randint(1, 59)))
    random.shuffle(lines)
    return lines


def item_lines(country: Country, category: str, random: Random) -> tuple[list[str], float]:
    """The lines of what was bought, all in the habit of one till, and their sum."""
    items = ITEMS[country.language][category]
    most = 2 if category in ("Fuel", "Transport/Parking/Toll") else min(len(items), random.choice((2, 4, 7, 11)))
    chosen = random.sample(items, random.randint(1, most))
    habit = random.randrange(5)
    is_quiet = random.random() < 0.4  # prints small letters
    total = 0.0
    lines = []
    for name, price in chosen:
        quantity = random.choice((1, 1, 1, 2, 3)) if category not in ("Fuel", "Services & Utilities") else 1
        unit = _rounded(price * country.scale * random.uniform(0.8, 1.3), country)
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


def total_lines(country: Country, total: float, random: Random) -> list[str]:
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
        given = _rounded(total * random.uniform(1.0, 1.6) + country.scale, country)
        lines += [line(random.choice(country.cash), given), line(random.choice(country.change), given - total)]
    else:
        lines.append(line(random.choice(country.card), total))
    return lines


def tax_lines(country: Country, total: float, random: Random) -> list[str]:
    """The table of taxes that Malaysian and Portuguese tills print; none elsewhere."""
    net = total * 100 / (100 + country.tax_percent)
    base, tax = country.money(net), country.money(total - net)
    if country.currency == "RM":
        code = random.choice(("SR", "S", "SR @ 6%"))
        return ["GST SUMMARY   AMOUNT (RM)   TAX (RM)", f"{code}    {base}    {tax}", f"Total    {base}    {tax}"]
    if country.language == "pt":
        return ["Taxa   Base de Incidência   Valor do IVA", f"{country.tax_percent},00%   {base}   {tax}"]
    return []


def _rounded(value: float, country: Country) -> float:
    return round(value / 500) * 500 or 500 if not country.decimals else max(0.1, round(value * 20) / 20)
