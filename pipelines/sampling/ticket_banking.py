"""Messages of a bank's customers, by BANKING77 intent, the most frequent first.

Every sentence was written for Docyard. `(a|b)` is a choice and `{slot}` a value; see `pipelines.sampling.writing`.
"""

from __future__ import annotations

BANKING_PHRASES: dict[str, tuple[str, ...]] = {
    "card_arrival": (
        "You posted my card on {date} and (the letterbox is still empty|nothing has reached {city} yet)",
        "It has been {days} days since my card was sent (out|) and it (still isn't here|hasn't turned up)",
        "My new card should have come by {date}. Has it got lost in the mail?",
        "Can you (track|trace) the card you mailed to {city}? (Nothing came so far|It never came)",
        "Order {order}: the card was dispatched {days} days ago, where has it got to?",
    ),
    "declined_card_payment": (
        "My card was (declined|refused) at {merchant} although I have {amount} (on it|in the account)",
        "Tried to pay {amount} at {merchant} and the terminal (said declined|rejected my card) (twice|again)",
        "Why did you decline the payment of {amount} I made (on {date}|in {city})?",
        "Card ending {ending} got refused (at the checkout|online) at {merchant}, there was enough money",
        "The shop told me my card payment did not go through, (please tell me why|what is wrong)?",
    ),
    "lost_or_stolen_card": (
        "(I lost|I seem to have lost) my card (somewhere in {city}|on the bus in {city}), please block it",
        "My wallet was stolen in {city} (on {date}|this morning) with the card ending {ending} in it",
        "Someone took my card from my bag (at {merchant}|on the train), what (do I do|should I do now)?",
        "The card ending {ending} is gone, I (must have dropped|may have left) it at {merchant}",
        "How do I report that my debit card was stolen?",
    ),
    "transaction_charged_twice": (
        "{merchant} (took|charged) {amount} two times on {date} and I only bought once",
        "I see the same payment of {amount} (twice|two times) on my statement, both from {merchant}",
        "Why have I been billed double for {order}? It was one purchase of {amount}",
        "One coffee at {merchant}, two charges of {amount}. Please remove the (second one|duplicate)",
        "There is a duplicate charge from {merchant} on card {ending}",
    ),
    "Refund_not_showing_up": (
        "{merchant} says they refunded {amount} on {date} but (I can't see it|it isn't in my account)",
        "Still no sign of my refund from {merchant} after {days} days",
        "The seller confirmed the refund for {order}, (when will it appear|why is it missing from my account)?",
        "My refund of {amount} (does not show|is not listed) on my statement",
        "I returned the {item} and the shop has sent the money back, yet my balance shows no refund",
    ),
    "request_refund": (
        "I (want|would like) a refund for the {item} I bought at {merchant}",
        "The {item} never arrived, (how can I get my money back|please refund me the {amount})",
        "(Please|Could you) refund {order}, I (paid|was charged) {amount} for something I did not get",
        "I changed my mind about the purchase at {merchant}. Can you give me my {amount} back?",
        "How do I ask for a refund of a card payment of {amount}?",
    ),
    "pending_card_payment": (
        "My payment to {merchant} of {amount} is (still|) pending since {date}",
        "Why does the card payment of {amount} (stay|remain) pending for {days} days?",
        "A purchase at {merchant} will not leave the pending list (in the app|)",
        "The {amount} I paid with card {ending} is marked as pending, when will it be final?",
    ),
    "transfer_not_received_by_recipient": (
        "I sent {amount} to {name} on {date} and (she|he) has not got it",
        "My landlord says the transfer of {amount} did not arrive, your app says it is done",
        "The money I transferred to {iban} {days} days ago (has not reached them|never got there)",
        "{name} is still waiting for the {amount} I sent (from the app|), where is the money?",
        "Transfer {reference} shows as completed but the recipient has received nothing",
    ),
    "pending_transfer": (
        "My transfer of {amount} to {name} has been pending (since {date}|for {days} days)",
        "Transfer {reference} (is stuck at|still says) pending, why?",
        "How long can a transfer stay in pending? I made it on {date}",
        "The app shows a pending transfer to {name} and it does not move",
    ),
    "card_payment_not_recognised": (
        "There is a payment of {amount} to {merchant} (on my card|on my statement) that I did not make",
        "What is this {amount} charge from {merchant}? I (have never been there|do not know them)",
        "I don't recognise a card payment on {date} over {amount}",
        "Somebody paid {amount} at {merchant} in {city} with my card details and it wasn't me",
    ),
    "cash_withdrawal_charge": (
        "Why was I charged {small} for taking out (cash|money) at an ATM in {city}?",
        "I withdrew {amount} and you took a fee of {small}, (is that normal|I thought it was free)",
        "The cash machine in {city} cost me {small} (extra|in fees), please explain",
        "Do you (now |)charge for cash withdrawals? There is a {small} fee on my statement",
    ),
    "declined_cash_withdrawal": (
        "The ATM in {city} (would not give me|refused to pay out) {amount}, my withdrawal was declined",
        "I could not (get|withdraw) cash with card {ending} on {date}, the machine said declined",
        "Why was my cash withdrawal of {amount} rejected? My balance is higher than that",
        "Cash machine at {city} station declined me (twice|three times) although I have money",
    ),
    "card_not_working": (
        "My card ending {ending} (stopped working|has stopped working) (since {date}|all of a sudden)",
        "My card does not work anywhere (anymore|), not in shops and not online",
        "Neither {merchant} nor the supermarket could read my card, I think it (is broken|is faulty)",
        "The chip on my card seems dead, no terminal accepts it",
    ),
    "activate_my_card": (
        "My new card arrived (today|on {date}), how do I activate it?",
        "I (cannot|can't) activate the card ending {ending} in the app",
        "Where (in the app|) do I switch on my new card? It came with no instructions on activation",
        "(Please activate|Could you activate) my card, the last digits are {ending}",
    ),
    "pin_blocked": (
        "I typed the wrong PIN three times at {merchant} and now it is blocked",
        "My PIN is (blocked|locked), how can I unblock it?",
        "(Please unlock|Can you unblock) the PIN of my card ending {ending}, I entered it wrong too often",
        "The ATM in {city} says PIN attempts exceeded, what now?",
    ),
    "passcode_forgotten": (
        "I (forgot|have forgotten) the passcode for the app",
        "(Can't|Cannot) log in, I do not remember my app passcode after my holiday in {country}",
        "How can I reset my passcode? I (no longer know it|wrote it down and lost the note)",
        "I don't know my passcode any more, please send me (a way|a link) to set another",
    ),
    "compromised_card": (
        "I think somebody (copied|has copied) my card details at {merchant}, please (stop|block) the card",
        "My card number {card} may have leaked (after I bought a {item} online|), what should I do?",
        "I gave my card details to a fake website on {date}, I am worried they will use them",
        "There were strange attempts on card {ending} from {country}, my details must have been stolen",
    ),
    "wrong_amount_of_cash_received": (
        "I asked the ATM for {amount} and it (only paid out|gave me only) half of that",
        "The cash machine in {city} gave me (less|the wrong amount) but my account shows {amount}",
        "Wanted {amount} from the machine, got {small}, and you booked the full sum",
        "ATM paid out {small} less than I requested on {date}",
    ),
    "transfer_timing": (
        "How (long|many days) does a transfer to {country} (take|need)?",
        "If I send {amount} today, when will (it|the money) be in {name}'s account?",
        "When will a transfer made on {weekday} evening arrive at {bank}?",
        "What is the usual time for a bank transfer from {country} to get to me?",
    ),
    "transfer_fee_charged": (
        "Why did I pay {small} for a transfer to {name}?",
        "You deducted a fee of {small} from my transfer {reference}, nobody told me (about it|that there is one)",
        "Is there a charge for transfers to {country}? I lost {small} on mine",
        "A transfer fee of {small} was taken on {date}, (please explain|why is that)",
    ),
    "failed_transfer": (
        "My transfer to {name} failed (again|) and I (don't see why|got no explanation)",
        "I (tried|have tried) to send {amount} to {bank}, the app says transfer failed",
        "Why does transfer {reference} end with an error?",
        "The transfer of {amount} did not go through on {date}, what went wrong?",
    ),
    "cancel_transfer": (
        "I sent {amount} to the wrong {name}, please (stop|cancel) the transfer",
        "Can I (cancel|call back) transfer {reference}? I made it (an hour ago|by mistake)",
        "Please cancel the transfer of {amount} I made on {date}, the account number is wrong",
        "How do I take back a transfer that I just sent to {name}?",
    ),
    "balance_not_updated_after_bank_transfer": (
        "I transferred {amount} from {bank} to my account here and my balance is the same (as before|)",
        "My balance has not changed although {bank} sent {amount} on {date}",
        "Moved {amount} over from {bank} {days} days ago, the balance in the app is not updated",
    ),
    "direct_debit_payment_not_recognised": (
        "There is a direct debit of {small} to {merchant} which I never (signed|set up)",
        "Who is collecting {small} by direct debit every month? I did not (authorise|allow) it",
        "A direct debit (went out|left my account) on {date} and I have no idea who it is for",
        "Please (cancel|return) the direct debit from {merchant}, I do not recognise it",
    ),
    "card_payment_wrong_exchange_rate": (
        "The exchange rate for my purchase in {country} (is wrong|looks wrong), I paid {small} too much",
        "I bought a {item} in {city} and the rate you applied is not the one shown on {date}",
        "You converted my card payment at {merchant} into {currency} at a (terrible|wrong) rate",
        "Why was the rate on my payment of {amount} abroad so far from the official one?",
    ),
    "card_swallowed": (
        "The cash machine in {city} (kept|swallowed|did not return) my card",
        "ATM at {merchant} ate my card ending {ending}, how do I get it back?",
        "The machine took my card in and never gave it back (on {date}|just now)",
    ),
    "contactless_not_working": (
        "Tapping my card (does nothing|no longer works), I always have to insert it",
        "Contactless (does not work|stopped working) with card {ending} at {merchant}",
        "Why can I not pay contactless (any more|)? Chip and PIN is fine",
    ),
    "top_up_failed": (
        "My top up of {amount} failed (on {date}|again), (why|what is the problem)?",
        "I (tried to|wanted to) top up with my {bank} card and got an error",
        "The app will not let me top up {amount}, it says it failed",
    ),
    "pending_top_up": (
        "My top-up of {amount} is (still|) pending (since {date}|for {days} hours)",
        "Why is the money I topped up on {date} pending?",
        "The top up from {bank} hangs at pending, when can I use it?",
    ),
    "top_up_limits": (
        "What is the (most|maximum) I can top up (per day|in a month)?",
        "Is there a limit for top ups? I (want|need) to add {amount}",
        "How often may I top up {amount} before I hit the limit?",
    ),
    "automatic_top_up": (
        "Can the app top up {amount} by itself when my balance is low?",
        "Where do I (turn on|switch off) the auto top up of {amount}?",
        "I want an automatic top-up (every {weekday}|of {amount} each month), where is that setting?",
    ),
    "verify_my_identity": (
        "Which documents do you (need|accept) to verify my identity?",
        "How do I (prove|confirm) who I am in the app? I have a passport from {country}",
        "Where can I upload my ID for the identity check?",
    ),
    "unable_to_verify_identity": (
        "The identity check (fails|failed again), it does not accept my passport from {country}",
        "I uploaded my ID {days} times and (it is refused every time|you cannot verify me)",
        "The app can't verify my identity, my selfie is rejected",
    ),
    "verify_source_of_funds": (
        "Why do you (ask|want to know) where my {amount} comes from?",
        "How can I (see|show) the source of my funds? The money is from selling a {item}",
        "Which proof do you need for where the money on my account came from?",
    ),
    "terminate_account": (
        "I (want|would like|wish) to close my account (by the end of {month}|)",
        "Please (delete|close) my account, I am moving to {bank}",
        "How do I (close|end) my account with you? I have not been happy (since {month}|)",
    ),
    "edit_personal_details": (
        "I moved to {city}, please (change|update) my address",
        "My new phone number is {phone}, where do I change it?",
        "I got married and my surname is now different, how do I change my name in the app?",
        "Please update my e-mail to {email}",
    ),
    "exchange_via_app": (
        "Can I change {currency} into {other_currency} in the app?",
        "How do I (swap|exchange) {amount} to {currency} with the app?",
        "Where in the app is the button to exchange between {currency} and {other_currency}?",
    ),
    "getting_spare_card": (
        "Can I get a second card for my (wife|husband|daughter)?",
        "I would like an (extra|additional) card on the same account (for trips|as a spare)",
        "What does a second physical card cost?",
    ),
    "get_disposable_virtual_card": (
        "How do I (make|get) a disposable virtual card to pay {merchant}?",
        "I want a one-time virtual card to pay {merchant} once",
        "Where can I find the throwaway cards for online shopping (in the app|)?",
    ),
    "card_about_to_expire": (
        "My card expires (in {month}|next month), will you send a new one?",
        "The card ending {ending} runs out in {month}, what do I have to do?",
        "Do I have to order a replacement before my card expires?",
    ),
    "lost_or_stolen_phone": (
        "My phone was stolen in {city}, (please lock the app|what about my account)?",
        "I lost my mobile (on {date}|in a taxi in {city}) and your app is on it, can someone get in?",
        "No phone any more, it got stolen. How do I stop others from using my account?",
    ),
    "age_limit": (
        "What age (must|should) my (son|daughter) be before you give (him|her|them) an account?",
        "Can a {teen} year old have an account with you?",
        "From what age can children use your card?",
    ),
    "country_support": (
        "Can I (open|have) an account if I live in {country}?",
        "Is {country} one of the countries you (support|serve)?",
        "Which countries do you operate in? I am moving to {country}",
    ),
}
