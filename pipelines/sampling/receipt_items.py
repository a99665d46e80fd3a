"""Goods of shops, by expense category and language: names as tills print them, with a price in euros.

The categories are those of the bundle `receipts`; shops and goods are invented or too common to be anyone's.
"""

from __future__ import annotations

Items = tuple[tuple[str, float], ...]

CATEGORY_WEIGHTS: dict[str, float] = {
    "Food & Beverage": 40,
    "Retail (general)": 14,
    "Office & Stationery": 12,
    "Groceries": 10,
    "Fuel": 8,
    "Hardware & Home": 6,
    "Transport/Parking/Toll": 5,
    "Services & Utilities": 3,
    "Electronics": 3,
    "Health & Personal Care": 3,
}

MERCHANTS: dict[str, dict[str, tuple[str, ...]]] = {  # {name} is a made-up name
    "en": {
        "Food & Beverage": ("{name} Cafe", "Restoran {name}", "{name} Kitchen", "{name} Grill & Bar", "{name} Bakery",
                            "{name} Noodle House", "The {name} Tavern", "{name} Pizza", "{name} Coffee Roasters"),
        "Retail (general)": ("{name} Gifts", "{name} Department Store", "{name} Trading", "{name} Fashion House",
                             "{name} Variety Shop", "{name} Toys", "{name} Enterprise"),
        "Office & Stationery": ("{name} Stationery", "{name} Books & Stationery", "{name} Office Supplies",
                                "{name} Print & Paper", "Kedai Buku {name}"),
        "Groceries": ("{name} Supermarket", "{name} Mini Market", "{name} Fresh Mart", "{name} Grocer",
                      "Pasar Mini {name}"),
        "Fuel": ("{name} Petrol Station", "{name} Fuels", "Stesen Minyak {name}", "{name} Service Station"),
        "Hardware & Home": ("{name} Hardware", "{name} Paint & Tools", "{name} Home Centre", "{name} Building Supplies",
                            "{name} Electrical & Hardware"),
        "Transport/Parking/Toll": ("{name} Parking", "{name} Car Park", "{name} Toll Plaza", "{name} Taxi",
                                   "{name} Railways"),
        "Services & Utilities": ("{name} Laundry", "{name} Courier Services", "{name} Key & Shoe Repair",
                                 "{name} Post Office", "{name} Print Services", "{name} Car Wash"),
        "Electronics": ("{name} Electronics", "{name} Computers", "{name} Mobile & Gadgets", "{name} Audio Visual"),
        "Health & Personal Care": ("{name} Pharmacy", "Klinik {name}", "{name} Hair Salon", "{name} Dental Care",
                                   "{name} Health Store"),
    },
    "pt": {
        "Food & Beverage": ("Pastelaria {name}", "Restaurante {name}", "Café {name}", "Cervejaria {name}",
                            "Padaria {name}"),
        "Retail (general)": ("Bazar {name}", "Armazéns {name}", "Loja {name}", "{name} Decoração"),
        "Office & Stationery": ("Papelaria {name}", "Livraria {name}", "{name} Material de Escritório"),
        "Groceries": ("Supermercado {name}", "Minimercado {name}", "Frutaria {name}", "Mercearia {name}"),
        "Fuel": ("Posto {name}", "{name} Combustíveis Lda", "Gasolineira {name}"),
        "Hardware & Home": ("Ferragens {name}", "{name} Bricolage", "Casa das Ferramentas {name}", "Drogaria {name}"),
        "Transport/Parking/Toll": ("Parque {name}", "{name} Estacionamentos", "Auto-Estradas {name}", "Táxis {name}"),
        "Services & Utilities": ("Lavandaria {name}", "{name} Correios Expresso", "Chaves {name}",
                                 "{name} Cópias e Serviços"),
        "Electronics": ("{name} Electrodomésticos", "{name} Informática", "Rádio {name}"),
        "Health & Personal Care": ("Farmácia {name}", "Clínica {name}", "Cabeleireiro {name}", "Parafarmácia {name}"),
    },
    "id": {
        "Food & Beverage": ("Warung {name}", "Kopi {name}", "Rumah Makan {name}", "Bakmi {name}", "Ayam Goreng {name}"),
        "Retail (general)": ("Toko {name}", "{name} Busana", "{name} Mainan"),
        "Groceries": ("Swalayan {name}", "{name} Mart", "Toko Buah {name}"),
        "Office & Stationery": ("Toko Buku {name}", "{name} Alat Tulis"),
    },
}  # fmt: skip

ITEMS: dict[str, dict[str, Items]] = {
    "en": {
        "Food & Beverage": (
            ("FLAT WHITE", 3.1), ("ICED LATTE", 3.6), ("CHICKEN RICE", 4.2), ("FRIED NOODLES", 4.5),
            ("BEEF BURGER", 9.5),
            ("CAESAR SALAD", 8.2), ("TEH TARIK", 0.9), ("ROTI CANAI", 0.8), ("NASI LEMAK", 2.3), ("TOM YAM SOUP", 5.4),
            ("GRILLED SALMON", 14.5), ("FRENCH FRIES", 3.2), ("MINERAL WATER", 1.4), ("HOT CHOCOLATE", 3.4),
            ("CHEESE CAKE", 4.3), ("MARGHERITA PIZZA", 9.9), ("HOUSE RED GLASS", 5.6), ("TAP BEER", 4.8),
            ("EGGS BENEDICT", 8.6), ("STEAMED RICE", 0.7), ("LIME JUICE", 1.8), ("CROISSANT", 2.4), ("RAMEN SET", 8.8),
            ("CHICKEN CHOP", 5.9), ("GARLIC BREAD", 3.3), ("MANGO SMOOTHIE", 3.9), ("FISH & CHIPS", 10.4),
        ),
        "Retail (general)": (
            ("PHOTO FRAME A4", 4.2), ("GIFT BAG L", 1.4), ("COTTON T-SHIRT", 8.9), ("UMBRELLA FOLDING", 6.5),
            ("CANDLE SET", 5.2), ("KIDS PUZZLE", 7.3), ("SLIPPERS PAIR", 4.6), ("PLASTIC TRAY", 1.6), ("TOTE BAG", 5.8),
            ("PARTY BALLOONS", 1.9), ("WALL CLOCK", 9.8), ("BATH TOWEL", 6.4), ("STORAGE BOX 20L", 5.5),
            ("LUNCH BOX", 4.1), ("SUNGLASSES", 11.2), ("LEATHER BELT", 13.9),
        ),
        "Office & Stationery": (
            ("A4 PAPER 80GSM", 4.4), ("BALL PEN BLUE", 0.6), ("RING FILE 2D", 2.1), ("STAPLES NO.10", 0.5),
            ("WHITEBOARD MARKER", 1.2), ("ENVELOPE C5 PK", 2.3), ("CORRECTION TAPE", 1.1),
            ("NOTE BOOK HARD COVER", 2.8),
            ("GLUE STICK 21G", 0.9), ("TONER CARTRIDGE", 38.0), ("RULER 30CM", 0.6), ("STICKY NOTES 3X3", 1.0),
            ("PENCIL 2B 12S", 1.9), ("PHOTOCOPY A4", 0.1), ("LAMINATING FILM", 6.1), ("RUBBER STAMP", 5.2),
        ),
        "Groceries": (
            ("WHOLE MILK 1L", 1.1), ("EGGS GRADE A 10S", 2.2), ("BANANAS KG", 1.3), ("WHITE BREAD", 1.2),
            ("COOKING OIL 2KG", 3.4), ("RICE 5KG", 6.9), ("TOMATOES KG", 1.7), ("INSTANT NOODLE 5S", 1.1),
            ("SUGAR 1KG", 0.9), ("CHEDDAR 200G", 2.6), ("DETERGENT 3KG", 5.4), ("TOILET ROLL 10S", 3.7),
            ("ORANGE JUICE", 1.9), ("FROZEN PEAS", 1.5), ("CHICKEN BREAST KG", 5.8), ("ONIONS", 0.8),
            ("YOGURT 4S", 2.1),
        ),
        "Fuel": (("UNLEADED 95", 48.0), ("DIESEL", 55.0), ("SUPER 98", 60.0), ("RON95 PUMP", 22.0), ("V-DIESEL", 62.0)),
        "Hardware & Home": (
            ("PVC PIPE 20MM", 1.8), ("WALL PLUG 50S", 1.6), ("HAMMER 16OZ", 8.7), ("EMULSION PAINT 5L", 23.5),
            ("LED BULB 9W", 2.9), ("CABLE TIE 200MM", 1.5), ("DOOR LOCK SET", 12.8), ("SEALANT WHITE", 3.6),
            ("DRILL BIT 6MM", 2.2), ("SCREWS 1KG", 4.4), ("EXTENSION CORD 3M", 6.9), ("PADLOCK 40MM", 5.1),
            ("SAND PAPER", 0.5), ("HINGE 4IN", 1.7), ("PAINT ROLLER", 3.3), ("CEMENT 50KG", 5.6),
        ),
        "Transport/Parking/Toll": (
            ("PARKING FEE", 3.0), ("TOLL CLASS 1", 2.4), ("PARKING COUPON", 1.8), ("TAXI FARE", 12.0),
            ("DAY TICKET", 5.5),
            ("SINGLE FARE ADULT", 2.7), ("LOST TICKET", 20.0),
        ),
        "Services & Utilities": (
            ("WASH & FOLD KG", 2.2), ("KEY CUTTING", 4.0), ("PARCEL 2KG", 6.8), ("REGISTERED LETTER", 3.6),
            ("CAR WASH", 8.0), ("DRY CLEAN SUIT", 11.0), ("ELECTRICITY BILL", 54.0), ("WATER BILL", 21.0),
            ("SHOE SOLE", 9.5), ("INTERNET MONTHLY", 29.0),
        ),
        "Electronics": (
            ("USB CABLE TYPE C", 5.4), ("POWER BANK 10000MAH", 18.0), ("HDMI CABLE 2M", 7.5), ("WIRELESS MOUSE", 12.5),
            ("MEMORY CARD 64GB", 11.0), ("PHONE CHARGER", 9.9), ("EARPHONES", 14.0), ("LAPTOP STAND", 22.0),
            ("BATTERY AA 4S", 3.2), ("KEYBOARD", 19.0), ("WIFI ROUTER", 39.0),
        ),
        "Health & Personal Care": (
            ("PARACETAMOL 500MG", 2.0), ("COUGH SYRUP 120ML", 4.8), ("VITAMIN C 60S", 8.4), ("PLASTERS 20S", 1.9),
            ("CONSULTATION", 15.0), ("HAIR CUT", 14.0), ("SHAMPOO 400ML", 4.2), ("TOOTHPASTE", 2.3),
            ("FACE MASK 50S", 5.0), ("EYE DROPS", 5.5), ("SUN CREAM SPF50", 9.8), ("ANTISEPTIC CREAM", 3.7),
        ),
    },
    "pt": {
        "Food & Beverage": (
            ("CAFE", 0.7), ("MEIA DE LEITE", 1.2), ("PASTEL DE NATA", 1.1), ("PRATO DO DIA", 7.5),
            ("BIFANA NO PAO", 3.2),
            ("SOPA DO DIA", 1.8), ("IMPERIAL", 1.5), ("BACALHAU GRELHADO", 11.5), ("AGUA 50CL", 1.0),
            ("TOSTA MISTA", 3.0),
            ("ARROZ DOCE", 2.5), ("SUMO NATURAL", 2.4), ("VINHO DA CASA", 4.5), ("FRANGO ASSADO", 6.8),
            ("COUVERT", 1.5),
        ),
        "Retail (general)": (
            ("MOLDURA 20X30", 5.0), ("TOALHA DE MESA", 8.9), ("COPO VIDRO", 1.5), ("SACO", 0.1), ("ALMOFADA", 7.9),
            ("VELA AROMATICA", 3.5), ("CABIDES 10 UN", 4.0), ("CESTO ROUPA", 12.0), ("CORTINA DUCHE", 6.5),
        ),
        "Office & Stationery": (
            ("RESMA PAPEL A4", 4.5), ("ESFEROGRAFICA AZUL", 0.6), ("ARQUIVADOR", 2.9), ("FOTOCOPIAS A4", 0.1),
            ("CADERNO A5", 1.9), ("TINTEIRO PRETO", 21.0), ("ENVELOPES 25 UN", 2.0), ("FITA COLA", 1.2),
        ),
        "Groceries": (
            ("LEITE MEIO GORDO", 0.7), ("PAO DE FORMA", 1.3), ("BANANA KG", 1.1), ("AZEITE 75CL", 4.9),
            ("OVOS DUZIA", 1.9),
            ("QUEIJO FATIADO", 2.4), ("ARROZ 1KG", 1.0), ("DETERGENTE LOUCA", 1.6), ("PAPEL HIGIENICO", 3.1),
            ("MACA GALA KG", 1.5), ("IOGURTE X4", 1.4),
        ),
        "Fuel": (("GASOLEO SIMPLES", 50.0), ("GASOLINA 95", 42.0), ("GASOLEO ADITIVADO", 57.0)),
        "Hardware & Home": (
            ("PARAFUSOS CX", 3.2), ("BUCHAS 6MM", 1.4), ("LAMPADA LED E27", 3.5), ("FECHADURA", 14.0),
            ("BROCA HSS", 2.2),
            ("TINTA BRANCA 5L", 24.0), ("SILICONE", 4.1), ("TORNEIRA", 18.5), ("EXTENSAO ELETRICA", 7.2),
            ("CHAVE CILINDRO", 2.5),
        ),
        "Transport/Parking/Toll": (
            ("ESTACIONAMENTO", 2.2), ("PORTAGEM CLASSE 1", 3.4), ("BILHETE SIMPLES", 1.5), ("SERVICO TAXI", 9.0),
        ),
        "Services & Utilities": (
            ("LAVAGEM 8KG", 6.0), ("COPIA DE CHAVE", 3.0), ("ENCOMENDA 2KG", 6.2), ("CARTA REGISTADA", 3.9),
            ("ENGOMAR CAMISA", 2.0), ("COMISSAO SERVICO", 1.2),
        ),
        "Electronics": (
            ("CABO USB-C", 6.9), ("CARREGADOR", 12.9), ("PILHAS AA X4", 3.9), ("RATO SEM FIOS", 14.9),
            ("AQUECEDOR 1500W", 34.9),
            ("CHALEIRA ELETRICA", 19.9), ("AUSCULTADORES", 17.9),
        ),
        "Health & Personal Care": (
            ("PARACETAMOL 1G", 2.1), ("PENSOS RAPIDOS", 2.4), ("PROTETOR SOLAR", 12.5), ("CHAMPO", 3.9),
            ("CONSULTA", 30.0),
            ("CORTE DE CABELO", 12.0), ("PASTA DENTES", 2.6),
        ),
    },
    "id": {
        "Food & Beverage": (
            ("NASI GORENG", 1.9), ("AYAM BAKAR", 2.4), ("ES TEH MANIS", 0.5), ("KOPI SUSU", 1.4), ("MIE AYAM", 1.6),
            ("SATE AYAM 10", 2.1), ("NASI PUTIH", 0.4), ("SOTO DAGING", 2.2), ("JUS ALPUKAT", 1.3),
            ("PISANG GORENG", 0.9),
            ("THAI TEA ICE", 1.3), ("ROTI BAKAR COKLAT", 1.2), ("BAKSO URAT", 1.7), ("GREEN TEA LATTE", 2.0),
            ("CAP CAY", 2.0),
        ),
        "Retail (general)": (
            ("KAOS POLOS", 3.5), ("TAS BELANJA", 0.6), ("BONEKA KECIL", 3.2), ("SANDAL", 2.8), ("DOMPET", 5.0),
        ),
        "Groceries": (
            ("BERAS 5KG", 4.2), ("GULA PASIR 1KG", 0.9), ("TELUR 1KG", 1.7), ("MINYAK GORENG 2L", 2.3),
            ("APEL KG", 2.2),
            ("SABUN CUCI", 1.1), ("TISU", 0.8), ("AIR MINERAL 1500", 0.4),
        ),
        "Office & Stationery": (("PULPEN HITAM", 0.3), ("BUKU TULIS", 0.4), ("KERTAS A4", 3.1), ("MAP PLASTIK", 0.3)),
    },
}  # fmt: skip

REMARKS: dict[str, dict[str, tuple[str, ...]]] = {  # what a till of the trade adds, {number} is a small number
    "en": {
        "Food & Beverage": ("Table {number}  Pax {number}", "DINE IN", "Take Away", "Order No: {number}",
        "Guests: {number}"), "Office & Stationery": ("STATIONERY, PRINTING AND PHOTOCOPY", "Books and office supplies"),
        "Groceries": ("ITEMS SOLD {number}", "MEMBER POINTS {number}"),
        "Fuel": ("PUMP {number}", "PUMP NO. {number} LITRES", "UNLEADED PETROL / DIESEL", "PRE-PAID FUEL SALE"),
        "Hardware & Home": ("PAINT, PLUMBING, ELECTRICAL, TOOLS", "Building materials and hardware"),
        "Transport/Parking/Toll": ("ENTRY 08:{number} EXIT 1{number}:05", "LANE {number} CLASS 1",
        "Vehicle No. XX {number}"), "Services & Utilities": ("Account No. 000{number}", "SERVICE ORDER {number}"),
        "Electronics": ("WARRANTY 12 MONTHS", "S/N 0000{number}"),
        "Health & Personal Care": ("Prescription No. {number}", "MEDICINES ARE NOT RETURNABLE"),
    },
    "pt": {
        "Food & Beverage": ("Mesa {number}", "Mesa: {number} Pessoas: {number}", "Consulta de mesa"),
        "Groceries": ("Artigos: {number}", "Poupança em cartão 0,{number}"),
        "Fuel": ("Bomba {number}", "Bomba {number} Litros EUR/L", "Matrícula: XX-{number}-XX"),
        "Hardware & Home": ("FERRAGENS - FERRAMENTAS - MAT. ELECTRICO", "Materiais de construção"),
        "Transport/Parking/Toll": ("Entrada 08:{number} Saída 1{number}:05", "Talão de portagem Classe: 1",
        "Lugar {number}"), "Services & Utilities": ("Registo postal 000{number}", "Serviços rápidos"),
        "Electronics": ("Garantia 2 anos", "N. Série 0000{number}"),
        "Health & Personal Care": ("Medicamentos sujeitos a IVA 6%", "Utente 000{number}"),
    },
    "id": {
        "Food & Beverage": ("Meja {number}", "Dine In", "Pax: {number}"),
    },
}  # fmt: skip
