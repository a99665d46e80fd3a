"""Parts of contracts besides the clauses that matter: definitions, duties, formalities, schedules.

Every sentence was written for Docyard; see `pipelines.sampling.contract_clauses` for how it is written down.
"""

from __future__ import annotations

DEFINITIONS: tuple[str, ...] = (
    '"Affiliate" means any entity that controls, is controlled by or is under common control with a party.',
    '"Applicable Law" means all statutes, regulations and orders of any authority that apply to a party.',
    '"Business Day" means a day other than a Saturday, a Sunday or a public holiday in {town}.',
    '"Confidential Information" means all information, in any form, that is marked as confidential or that ought '
    "reasonably to be understood as confidential.",
    '"Contract Year" means each period of twelve (12) months that begins on the Effective Date or its anniversary.',
    '"Deliverables" means the documents, drawings, programs and other items to be delivered under a Statement of Work.',
    '"Documentation" means the manuals and instructions that {a} generally makes available.',
    '"Effective Date" means the date stated at the head of this Agreement.',
    '"Force Majeure Event" means an event beyond the reasonable control of the party affected by it.',
    '"Intellectual Property" means patents, copyrights, designs, trade marks, know-how and all similar rights.',
    '"Marks" means the names, logos and trade marks shown in Schedule {number}.',
    '"Net Sales" means the amounts invoiced, less taxes, freight, returns and customary discounts.',
    '"Order" means a written order for {goods} that has been accepted by {a}.',
    '"Site" means the premises of {b} at {town}.',
    '"Specifications" means the technical description set out in Schedule {number}.',
    '"Term" has the meaning given in {section}.',
    '"Territory" means {territory}.',
    '"Third Party" means any person other than {a}, {b} and their Affiliates.',
)  # fmt: skip

BOILERPLATE: dict[str, tuple[str, ...]] = {
    "Supply and Performance": (
        "{A} shall perform its duties with reasonable skill and care and in accordance with good industry practice.",
        "{B} shall provide {a} in good time with the information, access and decisions that {a} reasonably needs.",
        "Each party shall appoint a contract manager. The first contract manager of {a} is {person}, that of {b} is "
        "{person}.",
        "The contract managers shall meet (monthly|once a quarter) to review progress and shall keep short minutes.",
        "Orders shall be placed in writing and state the quantity, the place of delivery and the date requested.",
        "{A} shall acknowledge each Order within {days} days of its receipt or state why it cannot be fulfilled.",
        "Delivery shall be made ex works {town}. Risk passes to {b} when the goods are handed to the carrier.",
        "{B} shall inspect each delivery on arrival and report visible damage within {days} days.",
        "Changes to the scope of work shall be agreed in writing and shall state their effect on price and schedule.",
        "{A} may engage subcontractors and remains responsible for their work as for its own.",
        "{A} shall replace any member of its staff whom {b} on reasonable grounds considers unsuitable.",
        "Each party shall comply with the safety rules of the other when its staff are on the other's premises.",
        "Training for up to {units} employees of {b} shall be held at the Site on days to be agreed.",
    ),
    "Prices and Payment": (
        "The prices of {goods} are set out in Schedule {number}. They do not include value added tax.",
        "{A} shall invoice monthly in arrears. Invoices are payable within {days} days of receipt.",
        "Amounts not paid when due bear interest at a rate of {pct} per annum from the due date until payment.",
        "{B} may withhold payment of any amount that it disputes in good faith, provided that it gives its reasons "
        "within {days} days of the invoice.",
        "All payments shall be made by bank transfer to the account named on the invoice.",
        "Each party shall bear its own costs of preparing and negotiating this Agreement.",
        "Travel expenses shall be reimbursed at cost on the production of receipts, if approved in advance.",
        "Where the law requires a party to deduct tax from a payment, it shall furnish a certificate of the deduction.",
        "A set-up charge of {money} is payable on signature.",
    ),
    "Confidentiality": (
        "Each party shall keep the Confidential Information of the other secret and use it only for the purposes of "
        "this Agreement.",
        "The duty of confidence does not apply to information that is or becomes public without breach, that was "
        "already known, or that is developed independently.",
        "A party that is required by law to disclose Confidential Information shall give the other prompt notice, "
        "where this is permitted.",
        "Confidential Information shall be made available only to those employees who need to know it and who are "
        "bound by similar duties.",
        "On request, documents that contain Confidential Information shall be returned or destroyed.",
        "The obligations of this Article continue for {years} years after the Agreement has ended.",
    ),
    "Data and Security": (
        "{A} processes personal data on behalf of {b} only on documented instructions.",
        "{A} shall maintain technical and organisational measures appropriate to the risk, among them encryption of "
        "data in transit, access control and daily back-ups.",
        "{A} shall notify {b} of any loss of data without undue delay and no later than {days} hours after it has "
        "become aware of it.",
        "Passwords shall be changed on first use and shall not be shared.",
    ),
    "Representations": (
        "Each party represents that it is duly organised, validly existing and has full power to enter into this "
        "Agreement.",
        "The execution of this Agreement does not conflict with any other agreement by which a party is bound.",
        "EXCEPT AS EXPRESSLY STATED HEREIN, {goods} ARE PROVIDED \"AS IS\" AND ALL IMPLIED WARRANTIES ARE DISCLAIMED.",
        "{B} represents that it holds all permits that are required for its business at {town}.",
        "Each party shall comply with all Applicable Law, including the laws against bribery.",
    ),
    "Indemnification": (
        "{A} shall indemnify and defend {b} against claims of third parties that {goods} infringe their rights, "
        "provided that {b} gives prompt notice and lets {a} control the defence.",
        "The indemnified party shall give reasonable assistance and shall not settle any claim without consent.",
        "If a claim of infringement is made, {a} may modify or replace {goods} so that they no longer infringe.",
    ),
    "Default": (
        "A party is in default if it fails to cure a material breach within {days} days of written notice of it.",
        "Either party may terminate this Agreement at once if the other becomes insolvent, makes an arrangement with "
        "its creditors or ceases to carry on business.",
        "The failure to pay an undisputed amount for more than {days} days is a material breach.",
        "Termination does not affect rights that have accrued before it.",
    ),
    "Disputes": (
        "The parties shall try to settle any dispute by negotiation between their senior managers within {days} days.",
        "If negotiation fails, the dispute shall be referred to mediation in {town}, the cost of which is shared "
        "equally.",
        "The courts of {town} shall have jurisdiction over any dispute that is not settled by mediation.",
        "Pending the settlement of a dispute each party shall go on performing its obligations.",
    ),
    "General": (
        "This Agreement, with its Schedules, is the entire agreement of the parties on its subject and supersedes all "
        "earlier understandings.",
        "No amendment of this Agreement is effective unless it is in writing and signed by both parties.",
        "If any provision is held to be invalid, the remaining provisions shall remain in force.",
        "A failure to exercise a right is no waiver of it.",
        "Notices shall be in writing and are deemed received on the second Business Day after posting by registered "
        "mail to the address stated above.",
        "Neither party is liable for a delay caused by a Force Majeure Event for as long as it lasts.",
        "Nothing in this Agreement makes either party the agent, partner or employee of the other.",
        "Headings are for convenience only and do not affect the interpretation of this Agreement.",
        "This Agreement may be signed in counterparts, each of which is an original and all of which are one "
        "instrument.",
        "Neither party shall issue a press release about this Agreement without the approval of the other.",
        "In case of conflict the body of this Agreement prevails over its Schedules.",
        "Words in the singular include the plural, and references to a Schedule are to a Schedule of this Agreement.",
    ),
}  # fmt: skip

SCHEDULE_ITEMS: tuple[str, ...] = (
    "Item {units}-{number}: (inspection|calibration|cleaning|replacement|testing) of the (pumps|filters|racks|sensors|"
    "valves|displays|conveyors|cabinets) at {town}, every {days} days.",
    "Service level {number}: (availability|response time|accuracy|first-time repair) of at least 9{number}.{number}% "
    "in each calendar month, measured at {town}.",
    "Milestone {number}: (draft|final|revised) (report|design|test plan|manual) to be delivered by {date} and reviewed "
    "by {person} within {days} days.",
    "Price of part {units}/{number}: {money} for each lot of {units}, packed in (cartons|crates|pallets), delivery "
    "from {town}.",
    "Requirement {number}.{number}: the (display|interface|housing|database|label) shall (show|store|withstand|record) "
    "(the date|the serial number|a drop of one metre|{units} readings) (at all times|in normal use|on request).",
    "Contact for (orders|invoices|technical questions|returns): {person}, {town}, weekdays from nine to five.",
    "Report {number}: a (monthly|weekly|quarterly) list of (returns|orders|defects|visits|stock) by region, sent to "
    "{person} within {days} days after the end of the period.",
    "Step {number}: after (the delivery|the test|the installation) at {town}, (the engineer|the auditor|the project "
    "lead) signs the (checklist|protocol|form) and keeps a copy for {years} years.",
)

MISFILED_TITLES: tuple[str, ...] = (
    "PARISH NEWSLETTER",
    "Allotment Society: letters received",
    "NOTICE BOARD",
    "Reader's digest of the week",
    "Village hall guest book",
    "Clippings",
)
