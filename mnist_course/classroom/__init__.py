"""A class: copies to hand out, marks for what comes back, and sheets of which no two are alike.

::

    python -m mnist_course.classroom copies pooling --to class
    python -m mnist_course.classroom grade handed-in --to marks
    python -m mnist_course.classroom variants pooling --learners names.txt --seed 7 --to sheets

It reads the exercises from the chapters' notebooks, so it needs the project and not only the
installed package. Grading runs code that learners wrote.
:mod:`~mnist_course.classroom.running` says what a process can do about it, and the page for
teachers what only a container can.
"""
