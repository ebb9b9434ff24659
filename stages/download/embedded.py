"""The 1,797 handwritten digits that come inside scikit-learn: real data without a network."""

import numpy as np

TEST_IMAGES = 360


def digits() -> dict[str, np.ndarray]:
    """The four arrays of scikit-learn's digits by IDX name: images uint8 (N, 8, 8), 0 to 255, labels uint8 (N).

    The last 360 images are the test part. The set is in the order of its collection, writer after writer, so most
    test digits are by writers that the training part does not have; a shuffled split would give an optimistic score.
    Each class has 33 to 37 of the 360 images.
    """
    # Imported here: only this data set needs it, and it costs a second.
    from sklearn.datasets import load_digits

    collection = load_digits()
    images = np.rint(collection.images * (255 / 16)).astype(np.uint8)
    labels = collection.target.astype(np.uint8)
    return {
        "train-images-idx3-ubyte": images[:-TEST_IMAGES],
        "train-labels-idx1-ubyte": labels[:-TEST_IMAGES],
        "t10k-images-idx3-ubyte": images[-TEST_IMAGES:],
        "t10k-labels-idx1-ubyte": labels[-TEST_IMAGES:],
    }
