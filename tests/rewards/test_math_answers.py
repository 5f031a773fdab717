r"""Equality of mathematical answers, category by category; every case is decided by hand."""

import pytest

from rlscale_jax.rewards import math_answer

EQUAL = {
    "magnitude": [
        (r"10^{-30}", r"1 \times 10^{-30}"),
        (r"\frac{1}{2004!}", r"\frac{2005}{2005!}"),
        (r"2^{100}", "1267650600228229401496703205376"),
        (r"10^{100}+1", r"1+10^{100}"),
        (r"6.02 \times 10^{23}", "6.02e23"),
        (r"6.02 \cdot 10^{23}", "602000000000000000000000"),
        (r"2^{10^{10}}", r"4^{5 \cdot 10^9}"),
        ("0.000001", r"10^{-6}"),
        ("100000000", r"10^8"),
        (r"5\times10^{-7}", "0.0000005"),
    ],
    "mixed number": [
        (r"\frac{7}{2}", r"3\frac{1}{2}"), (r"3 \frac{1}{2}", "3.5"), ("-3 1/2", r"-\frac72"), ("3½", "7/2"),
        (r"2\dfrac{3}{4}", "11/4"), (r"1\frac12", "1.5"),
    ],
    "percent": [(r"50\%", "50"), ("50", r"50\%"), ("0.5", r"50\%"), (r"12.5\%", "12.5 percent"), (r"\frac{1}{8}", r"12.5\%"),
                (r"25\%", r"25\text{ percent}")],
    "degree": [(r"90^\circ", "90"), ("90", "90°"), (r"90^{\circ}", r"90\text{ degrees}"), (r"\frac{\pi}{3}", r"60^\circ"),
               (r"22.5^\circ", r"\frac{45}{2}^\circ")],
    "spacing": [
        ("1000", "1\u2009000"), ("1234567", r"1\,234\,567"), ("1234567", r"1{,}234{,}567"), ("12345", "12\u00a0345"),
        (r"\frac{1}{2}", r"\frac { 1 } { 2 }"), ("10000", r"10\;000"), ("2500", "2,\\!500"),
    ],
    "base": [("204_5", "204_{5}"), ("204_5", r"(204)_5"), ("1010_2", r"1010_{\text{two}}"), ("54", "204_5"),
             ("16_7", "13")],
    "interval": [
        (r"(-\infty, 3]", r"x \le 3"), (r"[2,\infty)", r"x\geq 2"), (r"2 < x \le 5", r"(2, 5]"), (r"(2,5)", "2<x<5"),
        (r"(-\infty,0)\cup(0,\infty)", r"x \neq 0"), (r"x<1 \text{ or } x>3", r"(-\infty,1)\cup(3,\infty)"),
        (r"(3,\infty)\cup(-\infty,1)", r"(-\infty,1)\cup(3,\infty)"), (r"x>3", "3<x"),
        (r"\left[\frac12, 2\right)", "[0.5,2)"), (r"\{x \mid x > 2\}", r"(2,\infty)"), (r"\mathbb{R}", r"(-\infty,\infty)"),
        (r"\mathbb{R}\setminus\{2\}", r"(-\infty,2)\cup(2,\infty)"), (r"x\in(1,2)", "(1,2)"), (r"5 \ge x > 1", "(1,5]"),
        (r"[1,2]", r"1\leqslant x\leqslant 2"), ("x>1 \\text{ and } x<4", "(1,4)"), ("(-2,+\\infty)", "(-2,\\infty)"),
    ],
    "scientific": [("1.5e-7", r"1.5\times 10^{-7}"), ("3e8", "300000000"), ("1E3", "1000"), (r"2.5\cdot10^3", "2500")],
    "set": [(r"\{1,2,3\}", "3,2,1"), ("1,2", "2 and 1"), (r"\pm 3", "-3, 3"), (r"\{\frac12,2\}", r"\{2,0.5\}"), (r"2\pm\sqrt3", r"2+\sqrt{3},2-\sqrt{3}"),
            (r"\emptyset", r"\varnothing"), ("x=1 \\text{ or } x=2", "1,2"), ("1, 2, \\text{ and } 3", "3, 1, 2")],
    "tuple": [("(1,2)", r"\left(1,2\right)"), ("(0.5,-2)", r"(\frac12, -2)"), ("(x,y)=(1,2)", "(1,2)"), ("(1,2),(3,4)", "(3,4),(1,2)"),
              (r"(3, \frac{\pi}{2})", r"\left( 3, \dfrac{\pi}{2} \right)")],
    "matrix": [(r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{bmatrix} 1 & 2 \\ 3 & 4 \end{bmatrix}"),
               (r"\begin{pmatrix}1/2\\3\end{pmatrix}", r"\begin{pmatrix} 0.5 \\ 3 \end{pmatrix}")],
    "equation": [("y=2x+1", "y = 1+2x"), ("5", "x=5"), ("x=5", "5"), ("2x+4y-3=0", r"y=-\frac12x+\frac34"), ("x^2+y^2=4", "y^2+x^2-4=0"),
                 ("f(x)=x^2", "f(x) = x \\cdot x"), ("7", "m+n=7"), ("10", "7+3=10"), (r"\frac{\sqrt{3}}{3}", r"\frac{\sqrt{3}}{3} \approx 0.577")],
    "unit": [("10", r"10\text{ cm}"), (r"10\text{ cm}", "10"), ("15\\mbox{ cm}^2", r"15\text{ square centimeters}"), (r"\$18", "18"), ("18", "\\$18.00"),
             ("5", "5 apples"), ("12", "12 inches"), (r"1\text{ m}", r"100\text{ cm}"), ("45", r"45\,\mathrm{km/h}"), ("18", "18 dollars"),
             ("5000000", "5 million"), (r"90\text{ minutes}", r"1.5\text{ hours}"), ("30", "30 m^2")],
    "text": [(r"\text{Evelyn}", "Evelyn"), (r"\text{(C)}", "C"), ("even", r"\textbf{Even}"), (r"\text{Yes}", "yes"), ("\\text{no solution}", "No Solution")],
    "fraction": [(r"\frac12", r"\dfrac{1}{2}"), (r"\frac{3}{4}", "0.75"), ("-1/2", r"\frac{-1}{2}"), (r"\frac{-1}{2}", r"-\frac{1}{2}"), (r"\frac{1}{-2}", "-0.5"),
                 ("2/4", "1/2"), (r"\frac{\sqrt2}{2}", r"\frac{1}{\sqrt{2}}"), (r"\\frac{1}{2}", r"\frac12")],
    "expression": [("(x+1)^2", "x^2+2x+1"), (r"\sqrt{12}", r"2\sqrt{3}"), (r"\ln 4", r"2\ln 2"), (r"\sin 2x", r"2\sin x\cos x"), ("2*x", "x+x"), ("a^2b", "ba^2"),
                   (r"e^{2\ln x}", "x^2"), (r"|x-2|", r"|2-x|"), (r"\binom{5}{2}", "10"), (r"\log_2 8", "3"), ("5!", "120"), ("-(-3)", "3"),
                   (r"\frac{\pi R^2}{6}", r"\frac{\\piR^2}{6}".replace(r"\\", "\\")), ("n(n+1)/2", r"\frac{n^2+n}{2}"), (r"(-1)^n", r"\cos(n\pi)"),
                   (r"\sqrt[3]{x^2}", r"x^{2/3}"), ("3+4i", "4i+3"), (r"\cot x", r"\frac{\cos x}{\sin x}"), (r"\arcsin\frac12", r"\frac{\pi}{6}")],
    "decimal": [("50/51", "0.98039215686"), ("0.333333333", "1/3"), ("1.0", "1"), (".5", "0.50"), (r"0.\overline{3}", "1/3"), ("1,234.5", "1234.5"), ("+7", "7")],
    "unicode": [("42", "４２"), (r"\pi", "π"), ("-5", "−5"), (r"\sqrt{2}", "√2"), ("x^2", "x²"), ("1/2", "½"), (r"x\le 3", "x≤3")],
    "ratio": [("1:2", "2:4"), ("1:2", r"\frac12"), ("3:4:5", "6 : 8 : 10"), (r"2:\sqrt{5}:\sqrt5", r"2:\sqrt5:\sqrt5"), ("12:00", "12:00")],
}  # fmt: skip

DIFFERENT = {
    "magnitude": [
        (r"\frac{1}{2004!}", r"\frac{1}{2006!}"), (r"10^{-30}", r"2 \cdot 10^{-30}"), (r"10^{100}", r"10^{100}+1"),
        (r"2^{1000}", r"2^{1000}-1"), ("0", r"10^{-50}"), (r"9^{9^{9}}", r"9^{9^{9}}+1"), (r"100!", "99!"),
        ("123456789012345678901234567890", "123456789012345678901234567891"), ("0.0000001", "0.0000002"),
        (r"e^{-100}", "0"), (r"1+10^{-40}", "1"), (r"3^{200}", r"3^{201}"), ("1e-10", "1e-11"), (r"10^{-20}", "0"),
    ],
    "mixed number": [(r"3\frac12", r"\frac{3}{2}"), ("3 1/2", "31/2"), ("3.5", "3 1/3"), ("-3 1/2", "-2.5"), (r"2\frac{1}{2}", "1")],
    "percent": [("0.28", "28"), ("28", "0.28"), (r"50\%", r"5\%"), (r"50\%", "0.05"), (r"50\%", "5000"), ("0.5", r"0.5\%"[:-2] + r"5\%")],
    "degree": [(r"90^\circ", r"\frac{\pi}{4}"), (r"60^\circ", r"\frac{\pi}{6}"), ("90", r"45^\circ")],
    "spacing": [("1000", "1 00"), ("44/9", "4 4/9"), ("12", "1 2")],
    "base": [("204_5", "205_5"), ("1112112_3", "1112122_3"), ("204_5", "204_6"), ("10_2", "10")],
    "interval": [
        ("(1,2)", "[1,2]"), ("[1,2)", "(1,2]"), (r"x<3", r"x\le 3"), (r"x<3", r"y<3"), (r"x > 3", r"(-\infty,3)"), (r"(-\infty,5)", r"(-\infty,5]"),
        (r"(1,2)\cup(3,4)", "(1,4)"), (r"x\neq 0", r"(0,\infty)"), ("2<x<5", "[2,5]"), (r"[0,1]", r"\{0,1\}"), ("x>1 \\text{ and } x<4", "x>1 \\text{ or } x<4"),
        ("(1,2)", "(2,1)"), ("[0,1)", "[0,1.5)"),
    ],
    "scientific": [("1.5e-7", "1.5e-8"), ("3e8", "3e9"), (r"6\times10^{23}", r"6\times10^{22}")],
    "set": [(r"\{1,2,3\}", "1,2"), ("1,2", "1,3"), (r"\pm 3", "3"), ("7", "7 or 5"), ("7", "7, 5"), ("7", r"\{5,7\}"), (r"2\pm\sqrt3", r"2+\sqrt3"), (r"\emptyset", "0"), ("1,2", "12"), ("10, 200", "10200")],
    "tuple": [("(1,2)", "(2,1)"), ("(1,2)", "(1,2,3)"), ("(1,2)", r"\{1,2\}"), ("(1,2),(3,4)", "(1,2),(4,3)"), ("(1,2)", "12")],
    "matrix": [(r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{pmatrix}1&3\\2&4\end{pmatrix}"), (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{pmatrix}1&2&3&4\end{pmatrix}")],
    "equation": [("y=2x+1", "y=2x-1"), ("2x+z=1", "1"), ("7 = 11a+c", "11a+c"), ("a=1,b=2", "a=2,b=1"), ("x=5", "y=5"), ("x^2+y^2=4", "x^2+y^2=2"), ("x<5", "x=5")],
    "unit": [(r"10\text{ cm}", r"10\text{ m}"), (r"5\text{ hours}", r"5\text{ minutes}"), (r"10\text{ cm}^2", r"10\text{ cm}^3"), (r"\$18", "1.8"), ("5 million", "5"), (r"1\text{ km}", r"100\text{ m}")],
    "text": [(r"\text{odd}", "oddd"), (r"\text{even}", "odd"), ("E", r"\mathrm{E}*2"), (r"\text{Yes}", r"\text{No}"), (r"\text{(C)}", "D"), ("42", r"\text{hello}"), (r"\text{no}", r"\text{on}")],
    "fraction": [(r"\frac12", r"\frac21"), ("1/2", "-1/2"), (r"\frac{3}{4}", r"\frac{3}{5}"), ("3/12", "4"), ("1/2", "12"), (r"\frac{1}{2}x", r"\frac{1}{2}")],
    "expression": [("x+1", "x+2"), (r"\sqrt{x^2}", "x"), (r"\sin x", r"\cos x"), ("e^x", "e^{2x}"), ("ab", "a+b"), ("x", "y"), ("a_1", "a_2"), ("X", "x"), ("f(x)", "g(x)"), ("2^n", "2n"), (r"\sqrt{2}", "1.414"), ("x^{10}", "x^10+10^{-9}"), ("3+4i", "3-4i"), ("(2)(3)", "5"), (r"C_5^2", "c_5^2"), ("3x^2", "3y^2"), ("3ab", "3cd"), ("4e^2", "4"), ("3x", "3"), ("5m", "5n"), ("2xy", "2")],
    "decimal": [("1/3", "0.33"), ("0.33", "1/3"), ("2.5", "2.05"), ("5", "5.001"), (r"\pi", "3.14"), (r"\pi", "3.14159"), ("2/3", "0.667"), ("0.123456", "0.123457"), ("1000000", "1000001"), ("1234567.4", "1234567.5")],
    "unicode": [("a", "а"), ("5", "б"), ("x^2", "x2"), ("O", "0"), ("42", "４３")],
    "ratio": [("1:2", "2:1"), ("3:4:5", "3:4:6"), ("12:00", "1:00"), ("1:2", "1:2:3")],
    "code": [("1", "__import__('os').getpid()"), ("2", "1+1#"), ("0", "print(0)"), (r"\frac{1}{2}", "lambda: 1")],
}  # fmt: skip


def flat(table):
    return [pytest.param(*case, id=f"{category}: {case}") for category, cases in table.items() for case in cases]


@pytest.mark.parametrize(("gold", "answer"), flat(EQUAL))
def test_equal(gold, answer):
    assert math_answer.grade(rf"So \boxed{{{answer}}}.", gold).status == "ok"


@pytest.mark.parametrize(("gold", "answer"), flat(DIFFERENT))
def test_different(gold, answer):
    assert not math_answer.grade(rf"So \boxed{{{answer}}}.", gold).correct
