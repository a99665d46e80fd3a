"""Made-up texts of other sorts than a bundle's: other languages, plain English, letters without sense."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

# Frequent words of other languages; a text is a few of them in any order.
_LANGUAGES: Mapping[str, str] = {
    "German": "der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch es an werden "
    "aus er hat dass sie nach wird bei einer um am sind noch wie einem über haben nur oder aber vor zur bis mehr "
    "durch man Arbeit Haus Zeit Leute Wasser Straße gestern morgen schreiben fahren großen neue",
    "French": "de la le et les des en un du une que est pour qui dans a par plus pas au sur ne se ce il sont avec "
    "son mais comme ou si leur tout nous cette aux même fait était elle ont être deux temps vous maison travail eau "
    "rue hier demain écrire partir grande nouvelle toujours jamais peut",
    "Spanish": "de la que el en y a los se del las un por con no una su para es al lo como más o pero sus le ha me "
    "si sin sobre este ya entre cuando todo esta ser son dos también fue había era muy años hasta desde casa "
    "trabajo agua calle ayer mañana escribir grande nueva",
    "Italian": "di che è la il un a per in una mi sono ho non ma lo ha le si ti i con cosa se io come da ci no "
    "questo qui e hai sei del bene tu sì me più al mio perché lei solo te era gli tutto della casa lavoro acqua "
    "strada ieri domani scrivere grande nuova",
    "Portuguese": "de a o que e do da em um para é com não uma os no se na por mais as dos como mas foi ao ele das "
    "tem seu sua ou ser quando muito há nos já está eu também só pelo pela até isso ela entre era depois casa "
    "trabalho água rua ontem amanhã escrever grande nova",
    "Dutch": "de van een en het in is dat op te zijn met voor niet aan er om ook als dan maar bij of uit nog naar "
    "heeft die over ze zich hij wordt meer door deze worden kan geen werd wel hebben mensen huis werk water straat "
    "gisteren morgen schrijven grote nieuwe",
    "Polish": "w i na z do się nie to że o jest a od za po jak przez dla co jego tym ale czy ich przy już tylko był "
    "być może oraz które bardzo roku ma jej gdy dom praca woda ulica wczoraj jutro pisać wielki nowy",
    "Turkish": "bir ve bu da de için ile çok daha o gibi olarak ne var olan en ama sonra kadar değil her ben olduğu "
    "yeni iki ise zaman ya mi ev iş su sokak dün yarın yazmak büyük insan gün yıl",
    "Indonesian": "yang dan di itu dengan untuk tidak ini dari dalam akan pada juga saya ke karena tersebut bisa "
    "ada mereka lebih kata tahun sudah atau saat oleh menjadi orang rumah kerja air jalan kemarin besok menulis "
    "besar baru",
    "Russian": "и в не на я быть он с что а по это она этот к но они мы весь который из у то за свой весь год от "
    "так о для ты же все тот мочь вы человек такой его сказать дом работа вода улица вчера завтра писать новый",
    "Greek": "και το να του η της με που την από για τα είναι των σε ο οι στο θα τη στην τον δεν τους στη μας ένα "
    "μια ότι σπίτι δουλειά νερό δρόμος χθες αύριο γράφω μεγάλος νέος",
    "Chinese": "我们 今天 可以 没有 什么 知道 这个 时候 工作 水 街道 昨天 明天 写 大 新 人民 中国 问题 开始 因为 "
    "所以 自己 就是",
    "Arabic": "في من على أن إلى عن هذا كان مع التي ما لا هو الذي قد كل بعد بين يكون أو بيت عمل ماء شارع أمس غدا "
    "كبير جديد",
}  # fmt: skip
# Sentences of English by their sort; a text is one to three of them.
_SORTS: Mapping[str, Sequence[str]] = {
    "stories and news": (
        "The old lighthouse keeper climbed the stairs slowly, counting each step as his father had done before him.",
        "Rain is expected across the northern hills this evening, turning to snow above four hundred metres.",
        "She closed the window, sat down by the fire and began to read the letter for the third time.",
        "The home side scored twice in the last ten minutes and won the cup for the first time since 1974.",
        "Scientists have found the remains of a giant bird that lived on the island twelve million years ago.",
        "The minister said on Tuesday that the new railway would be opened two years later than planned.",
        "He laughed, although nobody had said anything funny, and walked out into the garden.",
        "Police are looking for witnesses of an accident near the bridge in which a cyclist was hurt.",
        "The orchestra played the second symphony with great warmth, and the audience would not stop clapping.",
        "Whales sing for hours, and each year the song of a whole ocean changes a little.",
        "Once there was a king who had three daughters, and the youngest of them could speak with birds.",
        "The voters of the small republic will choose a new parliament in the spring.",
    ),
    "talk": (
        "hey are you coming tonight or not",
        "lol no way, that was so funny",
        "happy birthday!! hope you have a great day, miss you",
        "running late, be there in ten, save me a seat",
        "Who was the first person to walk on the moon?",
        "did you watch the match last night? what a goal",
        "Congratulations! You have won a free prize, text WIN to claim it now",
        "my brother's band is playing on saturday, wanna come",
        "ok see you at the station then, love you",
        "why is the sky blue",
        "grandma sends her love, she liked the photos a lot",
        "yes of course, tell them I said hello",
        "I never said that, you always twist my words",
        "Thanks, same to you and the kids",
    ),
    "technical support": (
        "My laptop does not start after the last update, the screen stays black and the fan is loud.",
        "The printer on the second floor is offline again and prints only half of each page.",
        "I cannot connect to the VPN from home, it says that the gateway does not respond.",
        "Please install the new version of the office software on the computers of the accounting team.",
        "Outlook keeps asking for credentials although single sign-on is active.",
        "The server runs out of disk space every night because of the log files of the backup job.",
        "Please create a user account with mailbox and network drive for our new colleague.",
        "The application crashes with a null pointer exception when I open the settings dialog.",
        "The docking station does not detect the second monitor since Monday.",
        "We need access to the shared folder of the project, read and write.",
        "The wireless network in the meeting room is very slow and drops every few minutes.",
        "Fix a memory leak in the parser when the input ends inside of a quoted string.",
    ),
    "instructions and science": (
        "Heat the oil in a large pan, add the onions and cook for five minutes until they are soft.",
        "Use a soft cloth to clean the lens, and never touch the sensor with your fingers.",
        "Turn left at the church, follow the river for a mile and cross the second bridge.",
        "The cell membrane consists of two layers of lipids through which small molecules pass.",
        "Let f be a continuous function on a closed interval; then f takes its maximum there.",
        "Take one tablet twice daily after meals; do not drive if you feel dizzy.",
        "The patient is a 54-year-old man with chest pain that began two hours before admission.",
        "We trained the model on eight processors and measured its accuracy on unseen pictures.",
        "Whisk the egg whites until stiff, then fold in the sugar and bake at 150 degrees for an hour.",
        "Glaciers move faster where melted water reaches the rock beneath them.",
        "Remove the four screws at the back and lift the cover before you replace the battery.",
        "The study found no effect of the drug on blood pressure after six months.",
    ),
    "code and records": (
        "def read(path): return [line.strip() for line in open(path) if line]",
        "2024-03-01T07:12:55Z ERROR worker-3 connection refused (attempt 4), retrying in 30 s",
        "SELECT name, COUNT(*) FROM visits WHERE year = 2019 GROUP BY name ORDER BY 2 DESC;",
        "<div class='menu'><a href='/index.html'>Home</a></div>",
        "if (count > 0) { for (int i = 0; i < count; i++) total += values[i]; }",
        '{"id": 4711, "status": "ok", "tags": ["a", "b"], "ratio": 0.25}',
        "usage: copy [-r] [-v] SOURCE... TARGET   -r  copy folders recursively   -v  say what is done",
        "GET /images/logo.png HTTP/1.1 200 5123 Mozilla/5.0",
        "From: anna To: paul Subject: Re: holiday photos Date: Sun, 3 Mar 2019 10:22:01 +0100",
        "| a | b | c | 1 | 2 | 3 | mean 2.0 | max 3 |",
        "warning: variable may be used uninitialized in this function, line 212",
        "temperature 21.4 humidity 48 pressure 1013 wind 3.2 NNE visibility 10 km",
    ),
}
_ALPHABET = "abcdefghijklmnopqrstuvwxyz"


def made_up_strangers(texts: Sequence[str], most: int) -> dict[str, list[str]]:
    """Texts that no bundle is made for, by their source; the same arguments give the same ones.

    Args:
        texts: of the bundle's sort, at least one; some lend their lengths, and their letters to the last source.
        most: number of texts of each source, at least 1.
    """
    places = np.unique(np.linspace(0, len(texts) - 1, min(most, len(texts))).astype(int))
    models = [texts[place] for place in places]
    found = {"made up: other languages": [_foreign(text) for text in models]}
    for sort, sentences in _SORTS.items():
        found[f"made up: {sort}"] = [_english(sort, sentences, number) for number in range(most)]
    found["made up: letters at random"] = [_random_letters(text) for text in models]
    found["made up: letters of a text shuffled"] = [_shuffled(text) for text in models]
    return found


def _foreign(text: str) -> str:
    rng = _seeded("language", text)
    words = list(_LANGUAGES.values())[int(rng.integers(len(_LANGUAGES)))].split()
    n_words = min(max(2, len(text.split())), 60)
    return " ".join(words[place] for place in rng.integers(len(words), size=n_words))


def _english(sort: str, sentences: Sequence[str], number: int) -> str:
    rng = _seeded(sort, str(number))
    chosen = rng.permutation(len(sentences))[: 1 + number % 3]
    return " ".join(sentences[place] for place in chosen)


def _random_letters(text: str) -> str:
    rng = _seeded("letters", text)
    drawn = rng.integers(len(_ALPHABET), size=len(text))
    return "".join(letter if letter.isspace() else _ALPHABET[place] for letter, place in zip(text, drawn, strict=True))


def _shuffled(text: str) -> str:
    rng = _seeded("shuffled", text)
    return " ".join("".join(word[place] for place in rng.permutation(len(word))) for word in text.split())


def _seeded(*names: str) -> np.random.Generator:
    digest = hashlib.sha256("\0".join(names).encode("utf-8", "surrogatepass")).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))
