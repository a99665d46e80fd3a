"""Clauses of contracts by CUAD clause kind, in words of their own.

Every sentence was written for Docyard. `(a|b)` is a choice and `{slot}` a value; see `pipelines.sampling.writing` and
`pipelines.sampling.contract_terms`: `{a}` provides something to `{b}`, `{A}` and `{B}` begin a sentence.
"""

from __future__ import annotations

CONTRACT_CLAUSES: dict[str, tuple[str, ...]] = {
    "Affiliate License-Licensee": (
        "{A} grants to {b} and to each Affiliate of {b} a non-exclusive licence to use {goods} (in the Territory|for "
        "their internal business purposes) during the Term.",
        "The rights granted in this Article extend to the Affiliates of {b}, each of which may use {goods} on the same "
        "terms as if it were {b}, for as long as it remains an Affiliate.",
    ),
    "Affiliate License-Licensor": (
        "{A}, on behalf of itself and its Affiliates, hereby grants to {b} a non-exclusive licence under all "
        "Intellectual Property owned or controlled by {a} or any of its Affiliates that is necessary to use {goods}.",
        "{A} shall cause each of its Affiliates to grant, and hereby grants on their behalf, the licence described in "
        "{section} to {b}.",
    ),
    "Anti-Assignment": (
        "Neither party may assign (this Agreement|this Agreement or any of its rights or obligations hereunder) "
        "without the prior written consent of the other party(, which shall not be unreasonably withheld or delayed|). "
        "Any purported assignment in breach of this {section} is void.",
        "{B} shall not assign, transfer, charge or otherwise dispose of this Agreement, by operation of law or "
        "otherwise, without the prior written consent of {a}.",
        "This Agreement may not be assigned by either party without the consent of the other, except that {a} may "
        "assign it (to an Affiliate|to a purchaser of all or substantially all of its business) upon written notice.",
    ),
    "Audit Rights": (
        "{B} shall keep complete and accurate books and records relating to this Agreement for {years} years, and "
        "{a} or its independent auditor may inspect and copy them upon {days} days' written notice during normal "
        "business hours, not more than once in any calendar year.",
        "{A} shall have the right, at its own expense, to audit the records of {b} to verify (the amounts payable "
        "hereunder|compliance with this Agreement). If an audit shows an underpayment of more than {pct}, {b} shall "
        "bear the reasonable cost of the audit.",
        "Upon request, {b} shall give the auditors of {a} access to its premises, personnel and records to the extent "
        "needed to confirm that the royalties and fees have been calculated correctly.",
    ),
    "Cap On Liability": (
        "In no event shall the total liability of {a} arising out of or in connection with this Agreement, whether in "
        "contract, tort or otherwise, exceed (the fees paid by {b} in the {months} months preceding the claim|{money}"
        "|the aggregate amount paid under this Agreement).",
        "NEITHER PARTY SHALL BE LIABLE TO THE OTHER FOR ANY INDIRECT, INCIDENTAL, SPECIAL OR CONSEQUENTIAL DAMAGES, "
        "INCLUDING LOSS OF PROFITS, EVEN IF ADVISED OF THE POSSIBILITY OF SUCH DAMAGES.",
        "The maximum liability of either party under this Agreement is limited to {money} per claim and "
        "{pct} of the annual fees in the aggregate. No action may be brought more than {years} years after the cause "
        "of action arose.",
    ),
    "Change Of Control": (
        "{A} may terminate this Agreement upon {days} days' notice if {b} undergoes a Change of Control.",
        "In the event of a merger, a sale of all or substantially all of the assets, or a transfer of more than fifty "
        "percent (50%) of the voting shares of {b}, {b} shall notify {a} within {days} days and {a} may terminate this "
        "Agreement with immediate effect.",
        "A change in the control of {b}, whether direct or indirect, shall be deemed an assignment that requires the "
        "prior written consent of {a}.",
    ),
    "Competitive Restriction Exception": (
        "Notwithstanding the foregoing, nothing in this Article shall prevent {b} from continuing to sell "
        "(the products listed in Schedule {number}|products that it sold before the Effective Date), even if these "
        "compete with {goods}.",
        "The restrictions in {section} do not apply to the ownership of less than {pct} of the shares of a company "
        "listed on a stock exchange, nor to business with customers outside the Territory.",
    ),
    "Covenant Not To Sue": (
        "{B} shall not, during the Term or thereafter, contest or assist others in contesting the validity or "
        "ownership of the Marks or of any Intellectual Property of {a}.",
        "Each party covenants not to bring any claim or action against the other party or its Affiliates for "
        "infringement of any patent by the use of {goods} in accordance with this Agreement.",
        "{B} hereby releases {a} from all claims arising before the Effective Date and covenants not to sue on them.",
    ),
    "Exclusivity": (
        "{A} hereby appoints {b} as its exclusive (distributor|agent|partner) for {goods} in the Territory, and shall "
        "not appoint any other person in the Territory during the Term.",
        "During the Term {b} shall purchase {goods} exclusively from {a} and from no other source.",
        "{A} agrees that for a period of {months} months it will not provide {goods} to any competitor of {b} in the "
        "field described in Schedule {number}.",
    ),
    "Expiration Date": (
        "This Agreement shall commence on the Effective Date and, unless terminated earlier in accordance with its "
        "terms, shall continue in force (until {date}|for a period of {years} years).",
        "The initial term of this Agreement is {years} years from the Effective Date (the \"Initial Term\").",
        "This Agreement expires on {date} without notice being required, unless the parties agree otherwise in "
        "writing.",
    ),
    "Governing Law": (
        "This Agreement shall be governed by and construed in accordance with the laws of {law}, without regard to "
        "its conflict of laws principles.",
        "The validity, interpretation and performance of this Agreement are governed by the laws of {law}(, excluding "
        "the United Nations Convention on Contracts for the International Sale of Goods|).",
        "The laws of {law} shall apply to this Agreement and to any dispute arising from it.",
    ),
    "Insurance": (
        "{A} shall maintain at its own expense commercial general liability insurance with limits of not less than "
        "{money} per occurrence and shall name {b} as an additional insured.",
        "Throughout the Term and for {years} years thereafter {b} shall carry product liability insurance of at least "
        "{money} and shall furnish certificates of insurance upon request.",
        "Each party shall keep in force workers' compensation insurance as required by law and professional "
        "indemnity insurance with a reputable insurer, with a limit of {money} for any one claim.",
    ),
    "Ip Ownership Assignment": (
        "All right, title and interest in the Deliverables, including all Intellectual Property therein, shall vest in "
        "{b} upon creation, and {a} hereby assigns them to {b}.",
        "{A} hereby irrevocably assigns to {b} all right, title and interest in any invention, work or improvement "
        "made in the performance of the Services, and shall sign all documents needed to perfect the assignment.",
        "Any improvement to {goods} made by {b} shall be the sole property of {a}, and {b} agrees to assign all rights "
        "in it to {a}.",
    ),
    "Irrevocable Or Perpetual License": (
        "{A} grants {b} a perpetual, irrevocable, worldwide, non-exclusive licence to use the Deliverables, which "
        "survives the termination of this Agreement for any reason.",
        "The licence granted under {section} shall be irrevocable and perpetual once the fees for it have been "
        "paid in full.",
    ),
    "Joint Ip Ownership": (
        "Any invention conceived jointly by employees of both parties in the course of the Project shall be jointly "
        "owned by {a} and {b} in equal undivided shares, and each may exploit it without accounting to the other.",
        "Joint Intellectual Property shall be owned jointly by the parties. The cost of filing and maintaining joint "
        "patents shall be shared equally.",
    ),
    "License Grant": (
        "Subject to the terms of this Agreement, {a} hereby grants to {b} a non-exclusive licence to (use|install and "
        "use|market and sell) {goods} in the Territory during the Term.",
        "{A} grants {b} a limited, revocable, royalty-free licence to reproduce and display the Marks solely in "
        "connection with the (promotion|marketing) of {goods}.",
        "{B} is granted the right to use the Documentation and to make {number} copies of it for back-up and training.",
    ),
    "Liquidated Damages": (
        "If {a} fails to deliver by the agreed date, {a} shall pay liquidated damages of {pct} of the price of the "
        "delayed items for each week of delay, up to a maximum of ten percent (10%); the parties agree that this is a "
        "genuine pre-estimate of the loss and no penalty.",
        "In the event of early termination by {b}, {b} shall pay {a} a termination fee of {money} as liquidated "
        "damages.",
    ),
    "Minimum Commitment": (
        "{B} shall purchase at least {units} units of {goods} in each Contract Year (the \"Minimum Quantity\").",
        "{B} guarantees to {a} a minimum annual payment of {money}, payable whether or not {goods} have been ordered "
        "in that amount.",
        "If in any Contract Year the purchases of {b} fall below {money}, {b} shall pay the shortfall within {days} "
        "days after the end of that year.",
    ),
    "Most Favored Nation": (
        "{A} represents that the prices charged to {b} are and will remain no less favourable than those offered to "
        "any other customer for similar quantities of {goods}; if {a} offers a lower price to another, the price under "
        "this Agreement shall be reduced accordingly.",
        "{B} shall be treated as a most favoured customer: should {a} grant better terms to any third party, it shall "
        "offer the same terms to {b} within {days} days.",
    ),
    "No-Solicit Of Customers": (
        "During the Term and for {months} months thereafter, {a} shall not directly or indirectly solicit or entice "
        "away any customer of {b} for the purpose of offering services that compete with those of {b}.",
        "{B} undertakes not to solicit business from any customer whose name became known to it through this "
        "Agreement, other than for the benefit of {a}.",
    ),
    "No-Solicit Of Employees": (
        "Neither party shall, during the Term and for a period of {months} months afterwards, solicit for employment "
        "or hire any employee of the other party who was involved in the performance of this Agreement, without the "
        "prior written consent of that party.",
        "{A} agrees not to recruit, employ or engage any person employed by {b} within the preceding {months} months.",
    ),
    "Non-Compete": (
        "During the Term and for {years} years thereafter {b} shall not manufacture, market or sell within the "
        "Territory any product that competes with {goods}.",
        "{A} shall not engage, directly or indirectly, in any business that competes with the business of {b} in the "
        "Territory for as long as this Agreement is in force.",
        "{B} covenants that it will not own, operate or have any interest in a competing business located within "
        "{number} miles of any site operated by {a}.",
    ),
    "Non-Disparagement": (
        "Neither party shall make any statement, written or oral, that disparages or is likely to damage the "
        "reputation of the other party, its products, officers or employees.",
        "{B} shall not do anything which would tend to bring {a} or the Marks into disrepute or to reflect "
        "unfavourably on them.",
    ),
    "Non-Transferable License": (
        "The licence granted to {b} is personal, non-transferable and may not be sublicensed without the prior "
        "written consent of {a}.",
        "{A} grants to {b} a non-exclusive, non-transferable, non-sublicensable licence to use {goods} at the Site.",
    ),
    "Notice Period To Terminate Renewal": (
        "Either party may prevent the renewal of this Agreement by giving written notice of non-renewal not less than "
        "{days} days before the end of the then current term.",
        "This Agreement shall renew for further periods of {years} years each unless a party notifies the other of its "
        "intention not to renew at least {days} days prior to the expiry of the current period.",
    ),
    "Post-Termination Services": (
        "For a period of {months} months after termination, {a} shall provide such transition assistance as {b} may "
        "reasonably request, at the rates then in force.",
        "Upon the expiry or termination of this Agreement {b} may sell off its remaining stock of {goods} for {days} "
        "days, subject to the payment of all amounts due.",
        "Following termination, {b} shall immediately cease to use the Marks, return all Confidential Information and "
        "pay all sums that have accrued up to the date of termination.",
    ),
    "Price Restrictions": (
        "{A} shall not increase the prices set out in Schedule {number} during the first {months} months, and "
        "thereafter by no more than {pct} in any Contract Year.",
        "The fees may be adjusted once a year, upon {days} days' notice, by a percentage not exceeding the rise of the "
        "consumer price index.",
    ),
    "Renewal Term": (
        "Upon the expiry of the Initial Term this Agreement shall automatically renew for successive periods of "
        "{years} years (each a \"Renewal Term\").",
        "{B} may extend the term of this Agreement for {number} further periods of {months} months each by written "
        "notice to {a}.",
        "The term may be renewed for an additional {years} years by mutual written agreement of the parties.",
    ),
    "Revenue/Profit Sharing": (
        "{B} shall pay to {a} a royalty of {pct} of Net Sales of {goods}, within {days} days after the end of each "
        "calendar quarter.",
        "The parties shall share the net advertising revenue in the proportion of {pct} to {a} and the remainder to "
        "{b}.",
        "{A} shall receive a commission of {pct} of the net invoice value of every order accepted by {b} from a "
        "customer introduced by {a}.",
    ),
    "Rofr/Rofo/Rofn": (
        "If {a} intends to sell or license the rights in {goods} to a third party, it shall first offer them to {b} in "
        "writing, and {b} shall have {days} days in which to accept the offer on the same terms (the \"Right of First "
        "Refusal\").",
        "{B} shall have a right of first negotiation for any new product of {a} in the field; the parties shall "
        "negotiate in good faith for {days} days before {a} may negotiate with others.",
    ),
    "Source Code Escrow": (
        "Within {days} days after the Effective Date {a} shall deposit the source code of the Software with an escrow "
        "agent, who shall release it to {b} if {a} becomes insolvent or ceases to support the Software.",
        "The parties shall enter into a source code escrow agreement in the form of Schedule {number}, the fees of "
        "which shall be borne by {b}.",
    ),
    "Termination For Convenience": (
        "Either party may terminate this Agreement at any time, for any reason or for no reason, upon {days} days' "
        "prior written notice to the other party.",
        "{B} may terminate this Agreement or any Order for convenience by giving {a} at least {days} days' written "
        "notice, without liability other than for work already performed.",
    ),
    "Third Party Beneficiary": (
        "The Affiliates of {b} are intended third party beneficiaries of this Agreement and may enforce its terms "
        "directly.",
        "Except for the indemnified persons named in {section}, who shall be third party beneficiaries of that "
        "Section, nothing herein confers any right on any person who is not a party.",
    ),
    "Uncapped Liability": (
        "Nothing in this Agreement limits or excludes the liability of either party for death or personal injury "
        "caused by negligence, for fraud, or for (wilful misconduct|breach of confidentiality).",
        "The limitations set out in this Article shall not apply to the indemnification obligations of {a}, to gross "
        "negligence, or to any infringement of Intellectual Property.",
    ),
    "Unlimited/All-You-Can-Eat-License": (
        "{B} is granted an enterprise-wide licence for an unlimited number of users, copies and installations of the "
        "Software.",
        "The licence fee covers unlimited use of {goods} by {b} during the Term, without further payment for volume or "
        "number of users.",
    ),
    "Volume Restriction": (
        "The licence is limited to {units} named users; use beyond this number requires the purchase of additional "
        "licences at the rates in Schedule {number}.",
        "{A} shall not be obliged to supply more than {units} units of {goods} in any calendar month.",
        "The monthly fee includes up to {units} transactions; each further transaction is charged separately.",
    ),
    "Warranty Duration": (
        "{A} warrants that for a period of {months} months from delivery {goods} will be free from defects in material "
        "and workmanship and will conform to the Specifications.",
        "The warranty period is {days} days from acceptance. Within that period {a} shall at its own expense correct "
        "any defect that {b} reports in writing.",
    ),
}  # fmt: skip
