import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


@pytest.mark.skipif(not README.exists(), reason="the README is not beside the tests")
def test_the_example_runs_as_it_stands_but_shorter(capsys):
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    shorter = example.replace("make_eyes_open_closed()", "make_eyes_open_closed(12)")
    shorter = shorter.replace("epochs=20", "epochs=2").replace("n_repeats=2", "n_repeats=1")
    assert len({example, shorter}) == 2
    exec(shorter, {})
    assert re.match(r"accuracy 0\.\d\d \+- 0\.\d\d\n", capsys.readouterr().out)
