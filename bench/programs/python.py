# Objects of every kind that a service in Python makes: dictionaries, lists, strings, instances, JSON text.
import json
import sys


class Item:
    def __init__(self, key, value):
        self.key, self.value, self.tags = key, value, [key % 7, str(value)]


kept, total = [], 0
for turn in range(int(sys.argv[1])):
    items = {f"key-{i}": Item(i, i * turn) for i in range(2000)}
    text = json.dumps([{"k": k, "v": v.value, "t": v.tags} for k, v in items.items()])
    total += len(text)
    back = json.loads(text)
    back.sort(key=lambda d: -d["v"])
    words = " ".join(d["k"] for d in back).split(" ")
    total += len({w[::-1] for w in words})
    if turn % 4 == 0:
        kept.append(back)
    if len(kept) > 20:
        del kept[::2]
print(total)
