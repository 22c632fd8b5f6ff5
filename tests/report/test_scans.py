from covary.report.scans import scans_in_words


def test_scans_like_test_images_are_said_to_be_so(quality_of, factors_of):
    text, poor = scans_in_words(quality_of(), factors_of())
    assert not poor
    assert "Layers run through: edges in columns 4 pixels apart correlate by 0.70 (test images: 0.72)" in text
    assert "Of 3 known factors and classes" in text
    assert "none is distributed visibly otherwise" in text


def test_blotches_and_factors_that_differ_are_named(quality_of, factors_of):
    text, poor = scans_in_words(quality_of(continuity=0.5), factors_of(distance=0.4, p=1e-6))
    assert poor
    assert "Layers do not run through as they should" in text
    assert "1 are distributed otherwise" not in text
    assert "1 is distributed otherwise than in test images: tilt." in text


def test_a_difference_too_small_to_matter_is_not_named(quality_of, factors_of):
    assert not scans_in_words(quality_of(), factors_of(distance=0.1, p=1e-6)).poor
