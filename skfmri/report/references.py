"""Publications that a report can cite."""

from typing import NamedTuple


class Reference(NamedTuple):
    """A publication.

    Attributes
    ----------
    citation : str
        As it stands in a text.
    text : str
        Authors, title and place.
    doi : str
        Digital object identifier.
    """

    citation: str
    text: str
    doi: str


REFERENCES = (
    Reference(
        "Abadi et al. 2016",
        "M. Abadi et al. (2016). TensorFlow: large-scale machine learning on heterogeneous "
        "distributed systems. arXiv 1603.04467.",
        "10.48550/arXiv.1603.04467",
    ),
    Reference(
        "Abraham et al. 2014",
        "A. Abraham et al. (2014). Machine learning for neuroimaging with scikit-learn. Frontiers "
        "in Neuroinformatics 8, 14.",
        "10.3389/fninf.2014.00014",
    ),
    Reference(
        "Allefeld et al. 2016",
        "C. Allefeld, K. Görgen, J.-D. Haynes (2016). Valid population inference for "
        "information-based imaging: from the second-level t-test to prevalence inference. "
        "NeuroImage 141, 378-392.",
        "10.1016/j.neuroimage.2016.07.040",
    ),
    Reference(
        "Berger 1982",
        "R. L. Berger (1982). Multiparameter hypothesis testing and acceptance sampling. "
        "Technometrics 24(4), 295-300.",
        "10.1080/00401706.1982.10487790",
    ),
    Reference(
        "Besag and Clifford 1991",
        "J. Besag, P. Clifford (1991). Sequential Monte Carlo p-values. Biometrika 78(2), 301-304.",
        "10.1093/biomet/78.2.301",
    ),
    Reference(
        "Breiman 1996",
        "L. Breiman (1996). Stacked regressions. Machine Learning 24, 49-64.",
        "10.1007/BF00117832",
    ),
    Reference(
        "Efron 1987",
        "B. Efron (1987). Better bootstrap confidence intervals. Journal of the American "
        "Statistical Association 82(397), 171-185.",
        "10.1080/01621459.1987.10478410",
    ),
    Reference(
        "Esteban et al. 2019",
        "O. Esteban et al. (2019). fMRIPrep: a robust preprocessing pipeline for functional MRI. "
        "Nature Methods 16, 111-116.",
        "10.1038/s41592-018-0235-4",
    ),
    Reference(
        "Glover 1999",
        "G. H. Glover (1999). Deconvolution of impulse response in event-related BOLD fMRI. "
        "NeuroImage 9(4), 416-429.",
        "10.1006/nimg.1998.0419",
    ),
    Reference(
        "Gorgolewski et al. 2016",
        "K. J. Gorgolewski et al. (2016). The brain imaging data structure, a format for "
        "organizing and describing outputs of neuroimaging experiments. Scientific Data 3, 160044.",
        "10.1038/sdata.2016.44",
    ),
    Reference(
        "Haufe et al. 2014",
        "S. Haufe et al. (2014). On the interpretation of weight vectors of linear models in "
        "multivariate neuroimaging. NeuroImage 87, 96-110.",
        "10.1016/j.neuroimage.2013.10.067",
    ),
    Reference(
        "Hesterberg 2015",
        "T. C. Hesterberg (2015). What teachers should know about the bootstrap. The American "
        "Statistician 69(4), 371-386.",
        "10.1080/00031305.2015.1089789",
    ),
    Reference(
        "Hinton et al. 2012",
        "G. E. Hinton et al. (2012). Improving neural networks by preventing co-adaptation of "
        "feature detectors. arXiv 1207.0580.",
        "10.48550/arXiv.1207.0580",
    ),
    Reference(
        "Hoerl and Kennard 1970",
        "A. E. Hoerl, R. W. Kennard (1970). Ridge regression: biased estimation for nonorthogonal "
        "problems. Technometrics 12(1), 55-67.",
        "10.1080/00401706.1970.10488634",
    ),
    Reference(
        "Holm 1979",
        "S. Holm (1979). A simple sequentially rejective multiple test procedure. Scandinavian "
        "Journal of Statistics 6(2), 65-70.",
        "10.2307/4615733",
    ),
    Reference(
        "Ioffe and Szegedy 2015",
        "S. Ioffe, C. Szegedy (2015). Batch normalization: accelerating deep network training by "
        "reducing internal covariate shift. arXiv 1502.03167.",
        "10.48550/arXiv.1502.03167",
    ),
    Reference(
        "Kingma and Ba 2015",
        "D. P. Kingma, J. Ba (2015). Adam: a method for stochastic optimization. arXiv 1412.6980.",
        "10.48550/arXiv.1412.6980",
    ),
    Reference(
        "Mumford et al. 2012",
        "J. A. Mumford, B. O. Turner, F. G. Ashby, R. A. Poldrack (2012). Deconvolving BOLD "
        "activation in event-related designs for multivoxel pattern classification analyses. "
        "NeuroImage 59(3), 2636-2643.",
        "10.1016/j.neuroimage.2011.08.076",
    ),
    Reference(
        "Nadeau and Bengio 2003",
        "C. Nadeau, Y. Bengio (2003). Inference for the generalization error. Machine Learning 52, "
        "239-281.",
        "10.1023/A:1024068626366",
    ),
    Reference(
        "Nichols et al. 2017",
        "T. E. Nichols et al. (2017). Best practices in data analysis and sharing in neuroimaging "
        "using MRI. Nature Neuroscience 20(3), 299-303.",
        "10.1038/nn.4500",
    ),
    Reference(
        "Pedregosa et al. 2011",
        "F. Pedregosa et al. (2011). Scikit-learn: machine learning in Python. Journal of Machine "
        "Learning Research 12, 2825-2830.",
        "10.48550/arXiv.1201.0490",
    ),
    Reference(
        "Poldrack et al. 2020",
        "R. A. Poldrack, G. Huckins, G. Varoquaux (2020). Establishment of best practices for "
        "evidence for prediction: a review. JAMA Psychiatry 77(5), 534-540.",
        "10.1001/jamapsychiatry.2019.3671",
    ),
    Reference(
        "Prechelt 2012",
        "L. Prechelt (2012). Early stopping, but when? In: Neural Networks: Tricks of the Trade, "
        "53-67. Springer.",
        "10.1007/978-3-642-35289-8_5",
    ),
    Reference(
        "Selvaraju et al. 2017",
        "R. R. Selvaraju et al. (2017). Grad-CAM: visual explanations from deep networks via "
        "gradient-based localization. ICCV, 618-626.",
        "10.1109/ICCV.2017.74",
    ),
    Reference(
        "Shrikumar et al. 2016",
        "A. Shrikumar et al. (2016). Not just a black box: learning important features through "
        "propagating activation differences. arXiv 1605.01713.",
        "10.48550/arXiv.1605.01713",
    ),
    Reference(
        "Simonyan et al. 2013",
        "K. Simonyan, A. Vedaldi, A. Zisserman (2013). Deep inside convolutional networks: "
        "visualising image classification models and saliency maps. arXiv 1312.6034.",
        "10.48550/arXiv.1312.6034",
    ),
    Reference(
        "Smilkov et al. 2017",
        "D. Smilkov et al. (2017). SmoothGrad: removing noise by adding noise. arXiv 1706.03825.",
        "10.48550/arXiv.1706.03825",
    ),
    Reference(
        "Stelzer et al. 2013",
        "J. Stelzer, Y. Chen, R. Turner (2013). Statistical inference and multiple testing "
        "correction in classification-based multi-voxel pattern analysis (MVPA). NeuroImage 65, "
        "69-82.",
        "10.1016/j.neuroimage.2012.09.063",
    ),
    Reference(
        "Sundararajan et al. 2017",
        "M. Sundararajan, A. Taly, Q. Yan (2017). Axiomatic attribution for deep networks. arXiv "
        "1703.01365.",
        "10.48550/arXiv.1703.01365",
    ),
    Reference(
        "Unser 1999",
        "M. Unser (1999). Splines: a perfect fit for signal and image processing. IEEE Signal "
        "Processing Magazine 16(6), 22-38.",
        "10.1109/79.799930",
    ),
    Reference(
        "Zeiler and Fergus 2014",
        "M. D. Zeiler, R. Fergus (2014). Visualizing and understanding convolutional networks. "
        "ECCV, 818-833.",
        "10.1007/978-3-319-10590-1_53",
    ),
)


def cited(text):
    """Return the references that a text cites, in the order of their authors.

    Parameters
    ----------
    text : str
        With citations such as "Efron 1987".

    Returns
    -------
    references : list of Reference
    """
    return [reference for reference in REFERENCES if reference.citation in text]
