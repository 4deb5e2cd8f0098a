"""Generates releases for scripts/delta-pairs.sh, each as old and new in the
current directory, always the same."""

import hashlib
import io
import os
import random
import sqlite3
import struct
import sys
import zipfile

OLD, NEW = (2026, 1, 5, 10, 20, 30), (2026, 1, 6, 11, 21, 32)
WORDS = [hashlib.sha256(str(i).encode()).hexdigest()[: 3 + i % 9] for i in range(3000)]


def words(r, n):
    return " ".join(r.choice(WORDS) for _ in range(n))


def klass(r, name, size):
    """Something like a class file: a pool of names, then code."""
    out = io.BytesIO()
    out.write(struct.pack(">IHHH", 0xCAFEBABE, 0, 61, size // 12))
    for i in range(size // 24):
        s = (name + "/" if i % 5 == 0 else "") + words(r, 2).replace(" ", "/")
        out.write(struct.pack(">BH", 1, len(s)) + s.encode())
    for i in range(size // 6):
        out.write(struct.pack(">BH", r.choice(b"\x2a\xb4\xb6\xb7\xb2\x12\x4c\xa7\xb0\x59\xbb"), r.randrange(1, 300)))
    return out.getvalue()


def edit(r, b):
    """A few changes, as a compiler makes them for a few changed lines."""
    b = bytearray(b)
    for _ in range(r.randrange(1, 4)):
        i = r.randrange(len(b))
        b[i : i + r.randrange(30)] = klass(r, "e", r.randrange(20, 200))[10:]
    return bytes(b)


def store(z, name, b, at, how=zipfile.ZIP_DEFLATED):
    i = zipfile.ZipInfo(name, at)
    i.compress_type, i.external_attr = how, 0o644 << 16
    z.writestr(i, b)


def jar(entries, at):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as z:
        for name, b in entries:
            store(z, name, b, at)
    return out.getvalue()


def own(seed, n, package):
    r = random.Random(seed)
    return [(f"{package}/C{i}.class", klass(r, f"{package}/C{i}", r.randrange(400, 16000))) for i in range(n)]


def changed(entries, seed, n):
    r = random.Random(seed)
    entries = list(entries)
    for i in r.sample(range(len(entries)), n):
        entries[i] = (entries[i][0], edit(r, entries[i][1]))
    return entries


def put(side, name, b):
    path = os.path.join(side, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(b)


def libraries(*dirs):
    found = {}
    for d in dirs:
        for base, _, names in os.walk(d):
            for n in names:
                p = os.path.join(base, n)
                if n.endswith(".jar") and not os.path.islink(p):
                    found.setdefault(n, p)
    return [(n, open(found[n], "rb").read()) for n in sorted(found)]


def fatjar(side, classes, lib, libs, at, lib_at):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        for name, b in classes:
            store(z, "BOOT-INF/classes/" + name, b, at)
        for name, b in libs:
            store(z, "BOOT-INF/lib/" + name, b, lib_at, zipfile.ZIP_STORED)
        store(z, "BOOT-INF/lib/own-1.0-SNAPSHOT.jar", jar(lib, at), at, zipfile.ZIP_STORED)
    put(side, "app.jar", out.getvalue())


def do_fatjar(jars, tomcat_old, tomcat_new, kind):
    classes, lib = own(1, 600, "com/example/app"), own(2, 200, "com/example/lib")
    fatjar("old", classes, lib, libraries(jars, tomcat_old), OLD, OLD)
    fatjar("new", changed(classes, 3, 20), changed(lib, 4, 3), libraries(jars, tomcat_new), NEW, OLD if kind == "daily" else NEW)


def do_uber(jars, shuffle):
    entries, seen = [], set()
    for _, b in libraries(jars):
        with zipfile.ZipFile(io.BytesIO(b)) as z:
            for i in z.infolist():
                if not i.is_dir() and i.filename not in seen:
                    seen.add(i.filename)
                    entries.append((i.filename, z.read(i)))
    put("old", "uber.jar", jar(entries, OLD))
    r = random.Random(5)
    for i in r.sample(range(len(entries)), len(entries) * 7 // 1000):
        if len(entries[i][1]) > 40:
            entries[i] = (entries[i][0], edit(r, entries[i][1]))
    if shuffle == "1":
        r.shuffle(entries)
    put("new", "uber.jar", jar(entries, NEW))


def do_jar(n):
    classes = own(1, int(n) // 10, "com/example/app")
    put("old", "app.jar", jar(classes, OLD))
    put("new", "app.jar", jar(changed(classes, 3, 9), NEW))


def do_zip(n):
    r = random.Random(6)
    entries = [(f"d{i % 40}/f{i}.txt", words(r, r.randrange(5, 200)).encode()) for i in range(int(n))]
    put("old", "all.zip", jar(entries, OLD))
    put("new", "all.zip", jar(changed(entries, 7, 20), NEW))


def do_small(n):
    n = int(n)
    r = random.Random(8)
    files = {f"d{i % 500}/e{i % 7}/file{i}.txt": words(r, r.randrange(20, 500)) + "\n" for i in range(n)}
    for name, s in files.items():
        put("old", name, s.encode())
    names = sorted(files)
    pick = r.sample(names, n // 500 + n // 1000 * 2)
    for name in pick[: n // 500]:
        s = files[name].split(" ")
        i = r.randrange(len(s))
        s[i : i + 3] = words(r, 4).split(" ")
        files[name] = " ".join(s)
    for name in pick[n // 500 : n // 500 + n // 1000]:
        files["moved/" + os.path.basename(name)] = files.pop(name)
    for name in pick[n // 500 + n // 1000 :]:
        del files[name]
    for name, s in files.items():
        put("new", name, s.encode())
    then = 1767600000
    for side in ("old", "new"):
        for base, dirs, names in os.walk(side):
            for name in names + dirs:
                p = os.path.join(base, name)
                q = p.replace("new", "old", 1)
                fresh = side == "new" and (not os.path.exists(q) or os.path.isfile(p) and open(p, "rb").read() != open(q, "rb").read())
                moved = "/moved/" in p
                os.utime(p, (then, then + 86400 * fresh * (not moved)))
        os.utime(side, (then, then))


def do_sqlite(rows):
    rows = int(rows)
    os.mkdir("old")
    r = random.Random(9)
    db = sqlite3.connect("old/app.db")
    db.execute("create table t (id integer primary key, name text, note text, n integer)")
    db.execute("create index byname on t (name)")
    db.executemany("insert into t values (?, ?, ?, ?)", ((i, words(r, 2), words(r, r.randrange(5, 25)), r.randrange(10**9)) for i in range(rows)))
    db.commit()
    db.close()
    os.mkdir("new")
    put("new", "app.db", open("old/app.db", "rb").read())
    db = sqlite3.connect("new/app.db")
    for i in r.sample(range(rows), rows // 200):
        db.execute("update t set n = ?, note = ? where id = ?", (r.randrange(10**9), words(r, 12), i))
    for i in r.sample(range(rows), rows // 2000 + 1):
        db.execute("delete from t where id = ?", (i,))
    db.executemany("insert into t values (?, ?, ?, ?)", ((rows + i, words(r, 2), words(r, 15), i) for i in range(rows // 800)))
    db.commit()
    db.close()


def do_edit(root, n):
    r = random.Random(10)
    files = sorted(os.path.join(b, f) for b, _, names in os.walk(root) for f in names if f.endswith(".go"))
    for p in r.sample(files, min(int(n), len(files))):
        with open(p, "rb") as f:
            lines = f.read().split(b"\n")
        at = os.stat(p)
        lines[r.randrange(len(lines))] = b"// " + words(r, 8).encode()
        with open(p, "wb") as f:
            f.write(b"\n".join(lines))
        os.utime(p, (at.st_atime, at.st_mtime))


globals()["do_" + sys.argv[1]](*sys.argv[2:])
