"""What a draw of data asks for: the best predictor of a graded shape evidence and the colour, without training one."""

from irm_study.ideal.predictor import Ideal, ideal_of

__all__ = ["Ideal", "ideal_of"]
