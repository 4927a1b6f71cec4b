"""Exercises and questions on a page: nothing is spoiled, every answer gets a reply and is kept."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.pages import axe, small_book
from tools import folds, onefile

CHAPTER = """
# Means

How large is a number of several?

:::{admonition} In this chapter
:class: tip
You will average.
*About 5 minutes to read, 20 with the exercises.*
:::

```{code-cell} python
:tags: [hide-input]

# Drawing code
print("a picture")
```

```{code-cell} python
:tags: [hide-input]

x = 7
print(f"seven is {x}")
```

## Exercises

```{code-cell} python
from mnist_course.checks import data as check
```

### Exercise 1.1: one-hot

*Easy · 10 minutes*

Turn class indices into one-hot vectors.

```{code-cell} python
def my_one_hot(labels, classes):
    return labels  # your code here
```

```{code-cell} python
check.one_hot(my_one_hot)
```

:::{dropdown} Hint
Compare two shapes.
:::

```{code-cell} python
:tags: [hide-input]

# Solution 1.1
import torch


def solution_one_hot(labels, classes):
    return (labels[:, None] == torch.arange(classes)).double()


print(check.one_hot(solution_one_hot))
print("and a number, 82")
check.one_hot(solution_one_hot)
```

### Exercise 1.2: find the bug

*Medium · 5 minutes*

It runs.

```{code-cell} python
:tags: [hide-output]

check.one_hot(lambda labels, classes: torch.zeros(len(labels), classes).double())
```

## Quiz

::::{admonition} Question 1
:class: question
:name: ask-means-mean

What is the mean of 1, 2 and 6, if $n = 3$?

:::{dropdown} 2
:class: choice
That is the median.
:::
:::{dropdown} 3, because $9 / 3 = 3$
:class: choice right
$9 / 3 = 3$.
:::
:::{dropdown} 9
:class: choice
No: divide by how many there are.
:::
::::

::::{admonition} Question 2
:class: question
:name: ask-means-none

What is the mean of no numbers?

:::{dropdown} It is `nan`
:class: choice right
Zero divided by zero.
:::
:::{dropdown} 0
:class: choice
A sum of none is 0, a mean is not.
:::
::::

::::{admonition} Question 3
:class: question
:name: ask-means-open

Where have you met a mean?

:::{dropdown} Answer
In a report.
:::
::::

## Where to go next

Nowhere.
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_book.make(tmp_path_factory.mktemp("book"), CHAPTER)


def article(site: Path, name: str = "notebooks/01-means") -> str:
    text = (site / f"{name}.html").read_text(encoding="utf-8")
    return text[text.index("<article") : text.index("</article")]


# --- folds and exercises --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("# Solution 8.5\nx = 1", "Solution"),
        ("# A solution: transpose\nx = 1", "Solution"),
        ("# Drawing code\nplt.plot()", "Drawing code"),
        ("\n# The sick code\n", "The sick code"),
        ("# Going further 8.5", "Going further"),
        ("# The cure: the optimiser comes last.", "The cure"),
        ("# Solutions of others are not ours", ""),
        ("x = 1  # Solution", ""),
        ("", ""),
    ],
)
def test_a_fold_is_called_what_the_first_line_says(code: str, name: str) -> None:
    assert folds.role(code) == name


def test_verdicts_in_a_text_become_boxes_and_the_rest_stays() -> None:
    boxes, rest = folds.boxed("✓ Right. It is < 1.\n✗ Not yet. No.\n82 % of the digits\n✓ Right. x")
    assert boxes.count("<div ") == 2 and "It is &lt; 1." in boxes
    assert rest == "82 % of the digits\n✓ Right. x"
    assert folds.boxed("82 %") == ("", "82 %")


def test_the_places_where_a_chapter_runs_come_from_the_address_of_the_project() -> None:
    buttons = {"colab_url": "https://colab.x", "binderhub_url": "https://binder.x"}
    known = {"repository_url": "https://github.com/a/b.git", "launch_buttons": buttons}
    assert folds.places(known | {"repository_branch": "dev"}, "notebooks/07-x") == [
        ("Colab", "https://colab.x/github/a/b/blob/dev/notebooks/07-x.ipynb"),
        ("Binder", "https://binder.x/v2/gh/a/b/dev?urlpath=lab/tree/notebooks/07-x.ipynb"),
    ]
    assert folds.places(known | {"repository_url": ""}, "notebooks/07-x") == []
    assert folds.places({"repository_url": "https://github.com/a/b"}, "notebooks/07-x") == []


def test_an_exercise_on_a_page_says_where_it_can_be_done_and_not_that_it_is_wrong(site) -> None:
    text = article(site)
    assert "Not yet" not in text
    lines = re.findall(r'<p class="do-it">(.*?)</p>', text)
    assert len(lines) == 2
    for line in lines:
        assert re.sub("<[^>]+>", "", line) == "Do it: make lab · Colab · Binder"
        assert f"/github/{small_book.PROJECT.partition('.com/')[2]}/blob/main/notebooks/01" in line


def test_every_fold_has_its_name_and_a_solution_holds_what_it_prints(site) -> None:
    text = article(site)
    assert re.findall(r'class="collapsed admonition-title">([^<]+)<', text) == [
        "Drawing code", "Show the code", "Solution",
    ]  # fmt: skip
    (solution,) = re.findall(r"fold-solution.*?</details>", text, re.DOTALL)
    assert solution.count('class="course-verdict"') == 2
    assert "and a number, 82" in solution
    assert 'class="course-verdict"' not in text.replace(solution, "")
    assert text.index("Hint") < text.index("fold-solution")


# --- questions without a browser ------------------------------------------------------------------


def test_a_question_has_an_address_and_the_search_finds_it(site) -> None:
    assert '<a class="headerlink" href="#ask-means-mean"' in article(site)
    index = (site / "searchindex.js").read_text(encoding="utf-8")
    titles = json.loads(re.search(r'"alltitles": ?(\{.*?\]\]\})', index)[1])
    (found,) = [title for title in titles if title.startswith("Question 2")]
    assert found == "Question 2: What is the mean of no numbers?"
    assert titles[found][0][1] == "ask-means-none"


def test_pages_without_a_question_do_without_the_script(site) -> None:
    for name, scripts in (("notebooks/01-means", 1), ("book/index", 1), ("search", 0)):
        text = (site / f"{name}.html").read_text(encoding="utf-8")
        assert text.count("course-quiz.js") == scripts, name


def test_a_part_says_how_long_its_chapters_take_and_knows_their_questions(site) -> None:
    (row,) = re.findall(r"<tr.*?</tr>", article(site, "book/part-1"), re.DOTALL)[1:]
    assert [int(n) for n in re.findall(r">(\d+)<", row)] == [5, 20]
    assert 'data-questions="ask-means-mean ask-means-none"' in row
    said = "One chapter, about 5 minutes to read, 20 minutes with the exercises"
    assert said in article(site, "book/index")


def test_on_paper_choices_come_first_and_the_right_one_is_marked(
    site, monkeypatch, tmp_path
) -> None:
    monkeypatch.setattr(onefile.book, "ROOT", site.parents[1])
    found = onefile.pages(site, lambda slug, identifier: f"#{identifier or slug}")
    text = next(page for page in found if page.name == "notebooks/01-means").html()
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text))
    quiz = text[text.index("Question 1") : text.index("Question 2")]
    order = [
        "A 2 ",
        "B 3, because",
        "C 9 ",
        "Answer",
        "A ✗ No. That",
        "B ✓ Right.",
        "C ✗ No: divide",
    ]
    assert [quiz.index(each) for each in order] == sorted(quiz.index(each) for each in order)
    assert text.index("Solution") < text.index("solution_one_hot")
    assert "Drawing code" in text and "Show the code" not in text


# --- questions in a browser -----------------------------------------------------------------------


@pytest.fixture
def page(browser, site) -> Iterator:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    page = context.new_page()
    page.errors = []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.goto((site / "notebooks/01-means.html").as_uri())
    yield page
    context.close()
    assert page.errors == []


def choose(page, question: int, choice: int) -> None:
    page.locator(".question").nth(question - 1).locator("summary").nth(choice).click()


def said(page) -> str:
    return page.locator(".quiz-score [role=status]").inner_text()


@pytest.mark.browser
def test_a_choice_gets_its_reply_and_the_first_one_counts(page) -> None:
    assert said(page) == "2 questions. Click the answer that you believe."
    choose(page, 1, 0)
    expect(page.get_by_text("That is the median.")).to_be_visible()
    assert said(page) == "0 of 1 right at first try, 1 question to go."
    choose(page, 1, 1)
    choose(page, 2, 0)
    choose(page, 2, 0)  # closes it
    assert said(page) == "1 of 2 right at first try."


@pytest.mark.browser
def test_answers_are_kept_and_other_pages_count_them(page, site) -> None:
    choose(page, 1, 0)
    choose(page, 1, 1)
    page.reload()
    assert said(page) == "0 of 1 right at first try, 1 question to go."
    assert page.locator("details.tried .choice-text").all_inner_texts()[0] == "2"
    expect(page.locator("details.choice[open]")).to_have_count(0)
    for name in ("book/part-1", "book/index"):
        page.goto((site / f"{name}.html").as_uri())
        expect(page.locator(".quiz-progress")).to_have_text(
            "1 of 2 questions, 0 right at first try"
        )
    page.go_back()
    page.go_back()
    page.get_by_role("button", name="Start again").click()
    assert said(page) == "2 questions. Click the answer that you believe."
    expect(page.locator("details.tried")).to_have_count(0)


@pytest.mark.browser
def test_answers_can_be_exported(page) -> None:
    choose(page, 2, 1)
    with page.expect_download() as download:
        page.get_by_role("button", name="Export all my answers").click()
    kept = json.loads(Path(download.value.path()).read_text(encoding="utf-8"))
    assert kept["version"] == 1
    assert kept["answers"]["ask-means-none"]["tried"] == ["0"]
    assert kept["answers"]["ask-means-none"]["right"] is False


@pytest.mark.browser
def test_a_question_is_answered_by_keyboard(page) -> None:
    page.locator("details.choice summary").nth(0).focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert said(page) == "1 of 1 right at first try, 1 question to go."
    expect(page.locator("details.choice").nth(1)).to_have_attribute("open", "")


@pytest.mark.browser
def test_without_a_script_a_choice_still_replies(browser, site) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((site / "notebooks/01-means.html").as_uri())
    choose(page, 1, 0)
    expect(page.get_by_text("That is the median.")).to_be_visible()
    context.close()


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_questions_and_verdicts_have_no_barrier_and_fit_a_phone(browser, site, scheme: str) -> None:
    axe.needed()
    context = browser.new_context(
        viewport={"width": 360, "height": 800}, color_scheme=scheme, reduced_motion="reduce"
    )
    page = context.new_page()
    page.goto((site / "notebooks/01-means.html").as_uri())
    choose(page, 1, 0)
    choose(page, 1, 1)
    page.evaluate("document.querySelectorAll('main details').forEach(each => each.open = true)")
    barriers = [(each["id"], each["html"], each["why"]) for each in axe.violations(page)]
    assert [each for each in barriers if "formula" not in each[1]] == []
    width = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    assert page.evaluate(width)
    context.close()
