"""The table of corpus_check.py's verdicts a family, and the share that the project promises.

    corpus.py RESULT.json     exit code 1 where the promised families together are below the share
"""

import collections
import json
import sys

PROMISED = {"consul-dataplane", "yaml-syntax"}
SHARE = 0.80


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        result = json.load(file)
    rows = collections.defaultdict(lambda: [0, 0])
    for name, verdict in verdicts(result):
        rows[name][1] += 1
        rows[name][0] += verdict
    good = total = 0
    for name, (passed, of) in sorted(rows.items()):
        promised = name in PROMISED or name.endswith("-bootstrap")
        print(f"NOTE {name:24} {passed:4} of {of:4}{'  *' if promised else ''}")
        if promised:
            good, total = good + passed, total + of
    share = good / total if total else 0.0
    print(f"NOTE promised families (*): {good} of {total}, {share:.1%} (at least {SHARE:.0%})")
    return 0 if share >= SHARE else 1


def verdicts(result):
    """Family and whether the verdict is Envoy's, of every scenario that was judged."""
    for row in result["results"]:
        if row["outcome"] != "skipped":
            yield row["family"], row["outcome"] == "passed"


if __name__ == "__main__":
    sys.exit(main())
