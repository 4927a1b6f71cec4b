"""Exercises and questions on a page: nothing is spoiled, every answer gets a reply and is kept."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.pages import axe, small_book
from tools import folds, onefile

CHAPTER = '''
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
'''


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_book.make(tmp_path_factory.mktemp("book"), CHAPTER)
