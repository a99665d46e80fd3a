"""Questions to the company's assistant, by CLINC150 intent, the most frequent first.

Every sentence was written for Docyard. `(a|b)` is a choice and `{slot}` a value; see `pipelines.sampling.writing`.
"""

from __future__ import annotations

ASSISTANT_PHRASES: dict[str, tuple[str, ...]] = {
    "report_fraud": (
        "I (need|want) to report fraud on my card ending {ending}",
        "There is fraudulent activity on my account from {city}, (I want to report it|please file a report)",
        "Somebody used my account (in {country}|on {date}), I have to report a fraud of {amount}",
    ),
    "credit_score": (
        "What was my credit score (on {date}|in {month})?",
        "(Show me|Tell me|Look up) my credit score as of {month}",
        "Can you check how high my credit rating is?",
    ),
    "rewards_balance": (
        "How many (reward points|points) (do I have|have I collected) on card {ending}?",
        "(Tell me|Show) my rewards balance for {month}",
        "Did the purchase at {merchant} add to my rewards? How many points are there now?",
    ),
    "redeem_rewards": (
        "How do I (redeem|use|cash in) my reward points (for a {item}|)?",
        "I want to turn my card points into {amount} of cash",
        "Where can I spend my rewards?",
    ),
    "bill_due": (
        "When is my {utility} bill for {month} due?",
        "What day (do I have to|must I) pay the {utility} bill by in {month}?",
        "Tell me the due date of my {utility} bill",
    ),
    "pay_bill": (
        "Pay my {utility} bill (from my checking account|of {amount}|) (today|on {weekday})",
        "Please (pay|settle) the {utility} bill for {month}",
        "I want to pay {amount} towards my {utility} bill",
    ),
    "spending_history": (
        "How much (did I spend|have I spent) (on groceries|at {merchant}|on {utility}) in {month}?",
        "Show me my spending (for {month}|since {date}) (by category|)",
        "What did I spend on (eating out|travel|clothes) (last week|in {month})?",
    ),
    "credit_limit_change": (
        "(Can|Could) you raise my credit limit to {amount}?",
        "I want a higher limit on credit card {ending}, {amount} (would do|please)",
        "Increase the credit limit on my {bank} card",
    ),
    "damaged_card": (
        "My card (snapped|is bent|melted in the car) and I need to report it as damaged",
        "The dog chewed my card ending {ending}, it is (damaged|ruined)",
        "My card got damaged (in the wash|by a door in {city}), what now?",
    ),
    "order_checks": (
        "I need to order (more|new) checks for my {bank} account",
        "How do I get (a new checkbook|another book of checks) (by {date}|)?",
        "Please order checks, I have {days} left",
    ),
    "routing": (
        "What is the routing number (for|of) {bank}?",
        "(Give me|Find) my routing number for the {bank} account",
        "Where do I find the routing number on my {bank} account?",
    ),
    "freeze_account": (
        "Freeze my {bank} account (right now|please)",
        "Put a (hold|block) on my savings account (until {date}|for now)",
        "I want my bank account frozen (at once|until I am back from {country})",
    ),
    "book_flight": (
        "Book (me |)a flight from {city} to {other_city} on {date}",
        "I (need|want) a plane ticket to {city} (for {weekday}|under {amount})",
        "Find flights (leaving|departing) {city} for {country} on {date}",
    ),
    "flight_status": (
        "Is flight {flight} (on time|delayed)?",
        "When does (flight |){flight} (land|arrive) in {city}?",
        "What is the status of my flight {flight} on {date}?",
    ),
    "lost_luggage": (
        "My suitcase (did not arrive|is lost) after flight {flight}, (who do I talk to|where do I report it)?",
        "The airline lost my luggage in {city}",
        "I am at {city} airport and my bags (are missing|did not come out)",
    ),
    "travel_alert": (
        "Are there any travel (alerts|warnings) for {country} (right now|in {month})?",
        "Is it safe to travel to {country} in {month}?",
        "Does {city} have a travel warning?",
    ),
    "international_visa": (
        "Do I need a visa (for|to go to) {country} in {month}?",
        "Is a visa required for {days} days in {country}?",
        "Will I need a visa for (my trip to|two weeks in) {country}?",
    ),
    "vaccines": (
        "Which (shots|vaccinations) do I need (before|for) {country}?",
        "Do I have to be vaccinated to travel to {country}?",
        "What vaccines are advised for a trip to {country} (in {month}|)?",
    ),
    "car_rental": (
        "Rent (me |)a car in {city} from {date} (for {days} days|)",
        "I need a rental car (at the airport in|in) {city} on {weekday}",
        "Find a hire car in {city} for {days} days below {amount}",
    ),
    "restaurant_reservation": (
        "(Book|Reserve) a table for {days} at {restaurant} at {time}",
        "Can you get me a table at {restaurant} in {city} (for {weekday}|tonight)?",
        "I need a dinner reservation for {days} people on {weekday} at {time} under {name}",
    ),
    "cancel_reservation": (
        "Cancel my (reservation|table) at {restaurant} on {weekday}",
        "Please cancel the dinner reservation for {name} at {time}",
        "I can't make it, drop my booking at {restaurant}",
    ),
    "weather": (
        "What will the weather be like in {city} on {weekday}?",
        "Is it going to (rain|snow|be sunny) in {city} (tomorrow|on {weekday})?",
        "How (cold|warm) is it in {city} (at the moment|tonight)?",
    ),
    "traffic": (
        "How is the traffic (on the way to|around) {city} (at {time}|now)?",
        "Is there a jam between {city} and {other_city}?",
        "Any traffic (trouble|delays) heading to {city} on {weekday}?",
    ),
    "directions": (
        "How do I get to {restaurant} from {city} station?",
        "(Give me|I need) directions to the nearest {place}",
        "Which way is it to the {place} in {city}?",
    ),
    "reminder_update": (
        "Remind me to (call|e-mail) {name} (on {weekday}|at {time})",
        "Set a reminder for {time} to pick up the {item}",
        "Please remind me on {date} to water the plants",
    ),
    "alarm": (
        "Set an alarm for {time} (on {weekday}|tomorrow)",
        "Wake me (up |)at {time} (every {weekday}|)",
        "I need an alarm at {time} so I don't miss flight {flight}",
    ),
    "translate": (
        "How do you say {phrase} in {language}?",
        "Translate {phrase} (to|into) {language}",
        "What is the {language} (word|expression) for {phrase}?",
    ),
    "pto_request": (
        "I would like to (take|request) time off from {date} (for {days} days|)",
        "Put in (a vacation request|a PTO request) for {days} days in {month}",
        "Can you file leave for me on {date}?",
    ),
    "pto_balance": (
        "How many (vacation days|days off|PTO days) do I have left (before {month}|after {date})?",
        "What is my PTO balance (as of {date}|)?",
        "Do I still have {days} days of leave?",
    ),
    "payday": (
        "When (do I get paid|is my payday|is the paycheck) (for|in) {month}?",
        "What day does my salary for {month} come?",
        "How long until payday? It should be around {date}",
    ),
    "w2": (
        "Where can I (get|find|download) my w2 from {merchant}?",
        "I need my W-2 form for (last year|my old job at {merchant})",
        "Is my w2 available (yet|already)?",
    ),
    "schedule_maintenance": (
        "Book my car in for (a service|maintenance) on {date}",
        "I need to get my car (serviced|looked at) in {city} on {weekday}, make an appointment",
        "Schedule (a tune up|car maintenance) for {weekday} at {time}",
    ),
    "tire_pressure": (
        "What is the pressure in my (front|rear) tires (now|today|)?",
        "Do my tires (need|have enough) air for a drive to {city}?",
        "Check the tire pressure (of my car|before {weekday})",
    ),
    "order_status": (
        "Where is my {item} from {merchant}? I ordered it on {date}",
        "What is the status of {order} (with the {item}|)?",
        "Has {order} shipped (yet|already)?",
    ),
    "shopping_list_update": (
        "(Add|Put) {food} (and {other_food} |)(to|on) my shopping list",
        "Take {food} off (my|the) shopping list",
        "I need {food} on the shopping list for {weekday}",
    ),
    "smart_home": (
        "(Turn|Switch) (on|off) the {room} lights (at {time}|by {time})",
        "Set the {room} to {degrees} degrees",
        "(Lock|Unlock) the {room} door (at {time}|)",
    ),
}
