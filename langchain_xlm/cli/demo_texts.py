"""The texts of the demo, written for it."""

from __future__ import annotations

from typing import Final

TRANSLATIONS: Final = (
    ("Where is the station?", ("de", "fr", "es", "nl", "ja")),
    ("I don't know what to do.", ("de", "fr", "es", "zh")),
    ("She bought a new car last week.", ("de", "fr")),
    ("Das Wetter ist heute schön, aber morgen wird es regnen.", ("en",)),
    ("Ich habe keine Zeit.", ("fr", "es", "tr", "zh")),
    ("J'ai perdu mes clés.", ("en", "de")),
    ("彼は英語を話すことができます。", ("en", "de")),
    ("我不知道他什么时候回来。", ("en",)),
    ("Bu kitabı okumak istiyorum.", ("en",)),
)
"""Sources, whose languages are detected, and the languages that they are translated into."""

OPINIONS: Final = (
    "What a wonderful evening! The food was delicious and everybody was so kind.",
    "This is the worst film that I have ever seen.",
    "The meeting is on Tuesday at ten.",
    "Ein großartiger Film, ich habe von Anfang bis Ende gelacht.",
    "Je déteste ce téléphone, il ne marche pas.",
    "¡Qué bonito! Me encanta este lugar.",
    "Dit is een prachtig boek, ik hou ervan.",
    "この本は本当に面白くて、とても好きです。",
    "Bu telefonu almayın, çok kötü.",
    "这家餐厅太糟糕了，我再也不来了。",
)

ARTICLE: Final = """\
For most of the last century, the people of Linden had their backs turned to the river. The \
Aller ran through the middle of the town in a straight channel of concrete, and whoever crossed \
the bridges saw little more than grey walls and fast, brown water. Children were told to stay \
away from it. The channel had been built in 1934, after a flood that drowned two streets, and it \
was meant to carry the water past the houses as quickly as possible.

For a long time the plan seemed to work. The town grew, and new houses were built on the meadows \
where the water used to spread in spring. Then the rain began to change. In the summer of 2009, \
two months of rain fell in three days, and the river rose over the concrete walls in a single \
night. Four hundred families had to leave their homes, and the repairs cost more than the town \
earns in a year.

The council first asked engineers to make the walls higher. Their answer surprised everybody: \
higher walls would only push the flood into the villages further down, and the next storm could \
be worse. What the river needed, they said, was room. They proposed to tear down the concrete, \
to give the river back its bends, and to turn the old meadows into a park that may stand under \
water for a few weeks each year.

Many people were angry. Twenty-six houses stood on the land that the river was to have, and some \
of their owners had lived there all their lives. "I did not want to be moved for the sake of \
frogs," says Hanna Weber, who was seventy when the plan was made. The council held more than \
forty meetings, paid the owners enough to build anew on higher ground, and let them choose their \
neighbours. It took six years until the last family agreed.

The diggers came in 2016 and stayed for three years. They broke up two kilometres of concrete, \
planted nine thousand willows, and dug a side arm that fills only when the water is high. The \
work cost 31 million euros, most of it paid by the state. Fish that nobody had seen for decades \
came back in the first summer, and so did the children, who now swim where it was once forbidden.

The real test came in July 2021. As much rain fell as in the year of the great flood, and the \
river rose for two days. It filled the side arm, covered the park, and stopped thirty centimetres \
below the first doorstep. Not one house was flooded, and the villages further down stayed dry as \
well. A week later the water was gone, and the town cleaned the mud from its benches.

Engineers from eleven countries have visited Linden since then. They learn that a river with room \
is safer than a river behind walls, but also that the digging was the easy part. "The hard part \
was to talk with each other until we trusted the plan," says the mayor. Hanna Weber lives on the \
hill now and walks down to the water every evening. She has counted eight kinds of frogs.
"""

SUMMARY_SENTENCES: Final = 4

PASSAGES: Final = (
    "Die Bäckerei am Markt öffnet um sechs Uhr und verkauft frisches Brot.",
    "Pour renouveler votre passeport, apportez deux photos et une pièce d'identité à la mairie.",
    "El tren a la costa sale a las once de la noche y llega por la mañana.",
    "風邪をひいたら、温かいスープを飲んで、よく寝てください。",
    "山上的日出非常美，但是早上很冷，请带上外套。",
    "In de bibliotheek kun je behalve boeken ook gereedschap lenen.",
    "Kedimiz balık sever ama süt içmez.",
    "Tomatoes need a lot of sun and should be watered every morning.",
)

QUERIES: Final = (
    "What should I do when I have a cold?",
    "Wann fährt der Zug ans Meer?",
    "パスポートを更新するには何が必要ですか。",
    "¿Dónde puedo comprar pan?",
    "Hoeveel zon hebben tomaten nodig?",
    "Fait-il froid sur la montagne ?",
)
"""Each in another language than the passage that answers it."""
