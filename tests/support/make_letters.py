"""Writes 2,000 made-up office letters with 8 labels: a data set nobody has seen before, always the same.

    python tests/support/make_letters.py letters.csv

One letter in twenty has a wrong label, as in data that people labelled in a hurry.
"""

from __future__ import annotations

import csv
import random
import sys
from pathlib import Path

N_LETTERS, WRONG_SHARE, SEED = 2000, 0.05, 20261122

REQUESTS = {
    "address change": [
        "we {move} to {street} on {day}, please send our {mail} there",
        "my new address is {street}; kindly correct it in your {records}",
        "your last {mail} went to {street}, where we no longer live",
        "from {day} on you reach us at {street}, the old {office} is closed",
    ],
    "complaint": [
        "the {thing} I got on {day} is {fault}, and nobody answers me",
        "I have {complained} {times} about the {thing}; this cannot go on",
        "your {person} was rude to me on {day} when I asked about the {thing}",
        "once more the {thing} came {fault}; I expect an apology",
    ],
    "invoice question": [
        "what does the line {amount} on invoice {number} stand for",
        "invoice {number} shows {amount}, but we agreed on {amount2}",
        "I cannot find order {number} on the invoice of {day}",
        "could you send invoice {number} again, with our {records} on it",
    ],
    "job application": [
        "I would like to work for you as a {person}; my CV is attached",
        "is the post of {person}, advertised on {day}, still open",
        "after {times} as a {person} I am looking for a new place; please find my papers enclosed",
        "thank you for the talk on {day}; I still want to become your {person}",
    ],
    "meeting": [
        "can we meet on {day} at the {office} to talk about the {thing}",
        "I have to move our talk of {day}; would {day2} suit you",
        "please confirm the room for {day}, {times} people will come",
        "the agenda for {day} has the {thing} as its first point",
    ],
    "order": [
        "please send us {count} of the {thing} by {day}",
        "we need {count} more {thing}s, the same as under number {number}",
        "kindly note our order: {count} times {thing}, to {street}",
        "how soon could you deliver {count} of your {thing} if I ordered on {day}",
    ],
    "payment reminder": [
        "{amount} for invoice {number} was due on {day} and has not come in",
        "this is the {times} time we ask you for {amount}",
        "we still wait for your transfer of {amount}, number {number}",
        "unless {amount} is paid by {day}, we will have to stop the {thing}",
    ],
    "termination": [
        "I hereby cancel contract {number} with effect from {day}",
        "please end my subscription to the {thing}; the notice is until {day}",
        "we do not wish to prolong agreement {number} after {day}",
        "as of {day} I need the {thing} no more, kindly confirm the end of the contract",
    ],
}
SLOTS = {
    "move": ["move", "are moving", "will move"],
    "mail": ["letters", "parcels", "catalogue", "statements"],
    "records": ["files", "records", "customer number", "list"],
    "office": ["office", "branch", "shop", "warehouse"],
    "thing": ["printer", "desk lamp", "newsletter", "coffee machine", "ladder", "lift", "heating", "software", "van"],
    "fault": ["broken", "late", "scratched", "far too loud", "not what I ordered"],
    "complained": ["written", "complained", "called you"],
    "times": ["three", "four", "five", "second", "third"],
    "person": ["driver", "clerk", "receptionist", "bookkeeper", "electrician", "trainee"],
}
STREETS = ["Mill Lane", "Harbour Road", "Station Street", "Church Walk", "Elm Avenue", "Bridge Street"]
MONTHS = ["January", "March", "April", "June", "August", "October", "December"]
OPENINGS = ["", "Dear Sir or Madam, ", "Good morning, ", "Hello, ", "To whom it may concern: ", "Dear team, "]
CLOSINGS = ["", ".", ". Many thanks.", ". Kind regards", ". I look forward to hearing from you.", "!", "?"]
ASIDES = ["", "", "as I said on the phone, ", "sorry to trouble you again, ", "just a short question: ", "in brief: "]


def letters(n_letters: int = N_LETTERS, seed: int = SEED, wrong_share: float = WRONG_SHARE) -> list[dict[str, str]]:
    """Rows of id, text and label."""
    rng = random.Random(seed)
    names = sorted(REQUESTS)
    rows = []
    for number in range(n_letters):
        label = rng.choice(names)
        given = rng.choice(names) if rng.random() < wrong_share else label
        rows.append({"id": f"letter-{number:04d}", "text": _letter(rng, label), "label": given})
    return rows


def _letter(rng: random.Random, label: str) -> str:
    values = {name: rng.choice(words) for name, words in SLOTS.items()}
    values |= {name: f"{rng.randint(1, 28)} {rng.choice(MONTHS)}" for name in ("day", "day2")}
    values |= {name: f"{rng.randint(5, 4000)}.{rng.randint(0, 99):02d}" for name in ("amount", "amount2")}
    values |= {"number": str(rng.randint(1000, 99999)), "count": str(rng.randint(2, 300))}
    values["street"] = f"{rng.randint(1, 120)} {rng.choice(STREETS)}"
    body = rng.choice(ASIDES) + rng.choice(REQUESTS[label]).format(**values)
    if rng.random() < 0.3:  # a second thought, of any kind, that is not what the letter is for
        body += f", and by the way the {values['thing']} of {values['day2']} was {rng.choice(['fine', 'dear', 'late'])}"
    text = rng.choice(OPENINGS) + body + rng.choice(CLOSINGS)
    return text[0].upper() + text[1:]


def write_letters(path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["id", "text", "label"])
        writer.writeheader()
        writer.writerows(letters())


if __name__ == "__main__":
    write_letters(Path(sys.argv[1]))
