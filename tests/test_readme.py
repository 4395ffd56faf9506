import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


@pytest.mark.skipif(not README.exists(), reason="the README is not beside the tests")
def test_the_example_runs_as_it_stands_but_shorter(capsys):
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    shorter = example.replace("make_eyes_open_closed()", "make_eyes_open_closed(12)")
    shorter = shorter.replace("epochs=40", "epochs=2").replace("n_repeats=2", "n_repeats=1")
    assert len({example, shorter}) == 2
    exec(shorter, {})
    shown = capsys.readouterr().out
    assert re.search(
        r"^accuracy 0\.\d{3}, 95% interval .* over 6 groups; chance 0\.500\.$", shown, re.M
    )
    assert "linear" in shown
