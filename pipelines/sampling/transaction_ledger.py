"""Payments by purchasing card, by ledger code: merchants as card statements print them, and usual amounts.

The codes are those of the bundle `transactions`; every merchant is invented. `{store}` is a branch number, `{town}` a
made-up place; web addresses end in `.example`, which belongs to nobody.
"""

from __future__ import annotations

from dataclasses import dataclass

TOWNS = ("eldermouth", "fairhollow", "brackwater", "norwick", "tansley", "port lunden", "saint orrin", "wexmoor")


@dataclass(frozen=True)
class Account:
    """A ledger code.

    Attributes:
        weight: frequency of its bookings, relative to the others.
        median: of the amounts, in pounds.
        vat: share of bookings with the standard rate; the others are zero rated.
    """

    weight: int
    median: float
    vat: float
    merchants: tuple[str, ...]


LEDGER: dict[str, Account] = {
    "Equip Operational": Account(180, 30, 0.5, (
        "MERIDIAN MARKETPLACE UK", "MERIDIAN UK RETAIL", "HOUSEMART LTD", "HOUSEMART RETAIL GROUP",
        "KINDERBOX SCHOOL SUPPL", "www.classkit.example", "PLAYGROUND SUPPLIES LTD", "NORDHUS ONLINE",
        "{town} sports equipment", "SENSORY TOYS DIRECT", "www.kitchenware-now.example", "MUSIC ROOM SUPPLIES")),
    "Vehicle Fuel": Account(130, 55, 1.0, (
        "CORMORANT PFS {store}", "HALDEN PETROL {store}", "ROADSTAR {town}", "FUELSTOP 24 {town}",
        "CORMORANT {town} SS", "ORCHARD FILLING STN", "GREENGATE S/STN", "MOTO FUEL {town}", "A38 SERVICE STATION",
        "ROADSTAR SERVICES {store}")),
    "Purchases Food": Account(115, 21, 0.1, (
        "HALDEN STORES {store}", "HALDEN SUPERSTORE", "ORCHARD S/MKTS {store}", "ORCHARD ONLINE GROCERY",
        "FROSTLAND {town}", "GREENGATE FOODS {store}", "{town} FRUIT AND VEG", "THE CORNER BAKERY",
        "CASH AND CARRY {town}", "DAIRY DIRECT {town}")),
    "Books": Account(62, 20, 0.1, (
        "THE PAGE PEOPLE", "www.readingshelf.example", "INKWELL BOOKSELLERS {store}", "LANTERN BOOKS LTD",
        "CHAPTER HOUSE BOOKS", "MERIDIAN MKTPLCE BOOKS", "SCHOLARS BOOKSHOP", "BOOK DEPOT ONLINE")),
    "Supplies & Sev Mic": Account(60, 37, 0.5, (
        "MERIDIAN MARKETPLACE UK", "PARTY SUPPLIES {town}", "TROPHY AND ENGRAVING CO", "FLAGS AND BANNERS LTD",
        "{town} CARD CENTRE", "PARCELBIRD", "COUNTY COURT FEES", "PETALS FLORIST {town}")),
    "Mat'l Raw/Drct": Account(43, 30, 0.6, (
        "{town} TIMBER MERCHANTS", "CRAFT MATERIALS ONLINE", "FABRIC AND YARN {town}", "www.artstuff.example",
        "CATERQUIP.EXAMPLE", "ALLSPORT {store}", "BRICK AND BLOCK {town}", "MERIDIAN DIGITAL DWNLDS")),
    "Conference Fees Subs UK": Account(38, 24, 0.7, (
        "LAMPLIGHT INNS {town}", "CONFERENCE CENTRE {town}", "BEANFIELD COFFEE {store}", "THE ASSEMBLY ROOMS",
        "SUBMARINE ROLLS {store}", "EVENTPASS UK", "GRAND PIER HOTEL", "WAYFARER INN EXPRESS")),
    "Other Third Parties": Account(33, 520, 0.6, (
        "LAMPLIGHT INNS WEBSITE", "ROOMFINDER APARTMENTS", "SLEEPYTOWN LODGE {store}", "HOSTEL {town}",
        "THE HARBOUR HOTEL {town}", "STAYWELL SERVICED APTS")),
    "Equip Other": Account(31, 32, 0.7, (
        "VOLTHOUSE ONLINE", "VOLTHOUSE SUPERSTORE {store}", "TOOLBARN LTD", "HOUSEMART {store}", "MERIDIAN UK RETAIL",
        "THE RANGE BARN", "GARAGE TOOLS {town}")),
    "Hospitality": Account(29, 41, 0.6, (
        "PIZZERIA LUNA {town}", "THE CROOKED SPOON", "BEANFIELD COFFEE {store}", "LAMPLIGHT INNS {town}",
        "SAFFRON YARD REST", "TAKEAWAY-NOW.EXAMPLE", "GOLDEN WOK {town}", "CARVERY AT {town}", "BUFFET CATERING CO")),
    "Stationery": Account(23, 41, 0.9, (
        "PAPERLARK OFFICE {store}", "www.paperlark.example", "QUILL AND CO LTD", "DESKMATE STATIONERS",
        "YARROW PURCHASING ORG", "INK AND TONER DIRECT")),
    "Bldg RM Departmental": Account(20, 44, 1.0, (
        "BUILDSTORE {store}", "FIXINGS DIRECT", "{town} SAWMILLS LTD", "PLUMBLINE CENTRE {town}",
        "PAINT DECORATOR CENTRE", "HOMEYARD {store}", "LOCKS AND KEYS {town}", "TRADE TILES {town}")),
    "Postage": Account(18, 20, 0.1, (
        "POST COUNTER {town}", "POST SHOP {store}", "PARCELBIRD", "LETTERBOX ONLINE SHOP", "FRANKING SERVICES LTD",
        "POSTSELFSERVE {store}")),
    "Travel Bus/Rail": Account(16, 46, 0.0, (
        "TRAINSAVER.EXAMPLE", "MIDSHIRE RAILWAY TIC", "NORTHERN COAST TRAINS", "METRO TICKET MACHINE",
        "{town} BUS STATION", "COASTLINE COACHES", "TRAVELCARD RENEW WEB")),
    "Prof Fees other": Account(15, 57, 0.2, (
        "REGISTER OFFICE {town}", "TV LICENCE ONLINE", "DATA REGISTER FEE", "COMPANY REGISTER", "PASSPORT CERTIFICATES",
        "{town} VETERINARY CTR")),
    "Vehicle OthrunCosts": Account(14, 6, 0.7, (
        "PARKWISE MOBILE", "Q-SPACE PARKING {town}", "CENTRAL CAR PARKS LTD", "RINGPARK", "CITY CAR PARK {town}",
        "MARKET HALL MSCP")),
    "Computing Other": Account(14, 49, 0.6, (
        "CLOUDNEST HOSTING", "PIXELFORGE CREATIVE", "SURVEYPOND.EXAMPLE", "APPORCHARD.EXAMPLE/BILL",
        "BYTEYARD (UK) LTD", "FASTHOST INTERNET", "LICENCE HUB SOFTWARE")),
    "Personal Needs": Account(13, 22, 0.5, (
        "HALDEN SUPERSTORE", "THREADBARE CLOTHING", "ALLSPORT {store}", "CHEMIST AND CO {store}", "CARD CABIN",
        "PICTUREHOUSE {town}")),
    "Phon NonCentrx Lines": Account(12, 84, 1.0, (
        "BRITTEL BILL PAYMENT", "SKYLARK MOBILE UK", "PEBBLE PHONE PYMTS", "CABLENET PYMTS", "SKYLARK PREPAY TOP-UP")),
    "Other Fix&Fittings": Account(10, 36, 0.9, (
        "ELECTRIC FACTORS {town}", "SPARKS ELECTRICAL", "COMPONENTS DIRECT UK", "FIXINGS DIRECT",
        "BLINDS AND SHADES LTD")),
    "Visits Expenditure": Account(10, 129, 0.6, (
        "CHOCOLATE WORLD {town}", "SAFARI PARK {town}", "{town} CASTLE", "SNOWDROME LTD", "OLD MILL FARM VISITS",
        "{town} SCIENCE MUSEUM")),
    "Vehicle Excise Lics": Account(10, 51, 0.0, (
        "LAND TITLES REGISTER", "VEHICLE TAX ONLINE", "DRIVER TESTING AGENCY", "DRIVING THEORY TEST",
        "LICENSING {town} COUNCIL")),
    "Clothing&Uniforms": Account(7, 40, 0.6, (
        "THREADBARE STORES {store}", "SAFEGUARD WORKWEAR LIM", "UNIFORM WORLD {town}", "OUTDOOR LODGE {store}",
        "SCHOOL TREND WEAR")),
    "Training Other": Account(7, 100, 0.4, (
        "FIRST AID TRAINING CO", "www.skillsday.example", "SAFE HANDS TRAINING", "GUILD OF MUSIC EXAMS",
        "FOOD HYGIENE COURSES")),
    "Ttavel Other (UK)": Account(6, 9, 0.3, (
        "M66 TOLL", "RIVER CROSSING CHARGE", "ISLAND FERRIES.EXAMPLE", "SKYHOP AIRLINES", "LEZ CHARGE {town}",
        "HIRED COACHES LTD")),
    "N'Papers&Periodicals": Account(5, 38, 0.0, (
        "STAR NEWS {town}", "{town} NEWSAGENTS", "WEEKLY LEDGER SUBSCRIP", "EVENING POST SUBS")),
    "Travel Foreign": Account(5, 190, 0.0, (
        "AEROLUNA", "NORDWIND AIR", "SKYHOP AIRLINES", "TUNNEL RAIL INTERNET", "FLYWIDE HUN")),
    "Travel Taxis": Account(4, 13, 0.1, (
        "{town} RADIO CARS LTD", "CABCALL APP", "BLACK CAB FARE", "HOTLINE TAXIS", "A1 PRIVATE HIRE {town}")),
    "Car Parking": Account(4, 7, 0.7, ("PARKWISE MOBILE", "AIRPORT PARKING {town}", "CENTRAL CAR PARKS LTD PD",
    "RINGPARK")), "Cleaning Materials": Account(3, 38, 0.9, ("JANITOR SUPPLIES CO", "BRIGHTCLEAN {town}",
    "HYGIENE SERVICES LTD", "MOPS AND BUCKETS")), "Subscriptions": Account(3, 49, 0.4, ("SURVEYPOND.EXAMPLE",
    "GUILD OF LIBRARIANS", "SITEMAKER.EXAMPLE", "MERIDIAN PLUS")),
}  # fmt: skip

STRANGE_MERCHANTS: tuple[str, ...] = (
    "BALANCE BROUGHT FORWARD", "TOTAL CARRIED FORWARD PAGE {store}", "DIRECT DEBIT PAYMENT THANK YOU",
    "zzz test do not post", "???????? {store}", "LOTTERY SYNDICATE {town}", "LUCKY STAR CASINO", "MOON ROCK METEORITES",
    "STATEMENT DATE {store}", "ticket office of the opera in {town}, two seats", "horse no. {store} sweepstake",
    "yacht mooring {town} berth {store}", "TATTOO PARLOUR {town}", "x", "EMBASSY VISA SECTION",
    "CRYPTO EXCHANGE {store}", "SEE ATTACHED SLIP", "GRAVEL PIT FISHING CLUB",
)  # fmt: skip

COST_CENTRES: dict[str, tuple[str, ...]] = {  # by directorate
    "SCHOOLS": (
        "Larkfield Junior & Infant (NC)", "St Orrin's RC Primary", "Wexmoor Nursery School",
        "The Academy of Brackwater", "Tansley Girls School", "Mill Lane Infant", "Norwick Community College",
        "Fairhollow Special School",
    ),
    "Children and Families": ("Elm House HLDC", "Safeguarding Area 3", "Fostering Team", "Quayside Contact Centre"),
    "Local Services": (
        "Parks Strategy", "Trading Standards Investigations", "Housing Caretakers East", "Leisure Pools",
        "Street Lighting",
    ),
    "Adult Care": ("Homeless Accommodation", "Day Centre Tansley", "Sheltered Housing North", "Equipment Loan Store"),
    "Corporate Resources": ("Corp Post Room", "Legal Services", "Estates Apprentices", "Lord Mayor's Office"),
    "DEVELOPMENT": ("City Centre Management", "Planning Enforcement", "European Projects Team"),
}  # fmt: skip
DIRECTORATE_WEIGHTS = (48, 15, 20, 8, 6, 3)
