"""Makes tests/data/keras_NAME.onnx with Keras and tf2onnx: python -m tools.keras_files

Needs tensorflow and tf2onnx, which nothing else here does.
"""

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
import tf2onnx
from keras import layers

TARGET = Path(__file__).parent.parent / "tests/data"


def block(x, heads, key_dim, pre=False):
    """One layer of an encoder."""
    def norm(x):
        return layers.LayerNormalization(epsilon=1e-6)(x)

    y = norm(x) if pre else x
    x = layers.Add()([x, layers.MultiHeadAttention(heads, key_dim)(y, y)])
    x = x if pre else norm(x)
    y = layers.Dense(32, activation="gelu" if pre else "relu")(norm(x) if pre else x)
    x = layers.Add()([x, layers.Dense(x.shape[-1])(y)])
    return x if pre else norm(x)


def pooled(given, x):
    return keras.Model(given, layers.Dense(3)(layers.GlobalAveragePooling1D()(x)))


def narrow():
    """Heads of key_dim 2 in 12 features, pre-LN, GELU."""
    given = layers.Input((16, 6))
    return pooled(given, block(layers.Dense(12)(given), 2, 2, pre=True))


def cross():
    """2 heads of key_dim 2 over queries 8 x 16 and keys 4 x 16."""
    given = layers.Input((8, 16))
    memory = layers.Conv1D(16, 2, strides=2)(given)
    return pooled(given, layers.MultiHeadAttention(2, 2)(given, memory))


def causal():
    given = layers.Input((10, 16))
    x = layers.MultiHeadAttention(2, 8)(given, given, use_causal_mask=True)
    return keras.Model(given, layers.Dense(3)(x))


def text():
    given = layers.Input((8,), dtype="int32")
    return pooled(given, block(layers.Embedding(20, 16)(given), 2, 8))


def main() -> None:
    keras.utils.set_random_seed(0)
    for make, opset in ((narrow, 13), (cross, 13), (causal, 18), (text, 13)):
        model = make()
        for weight in model.weights:  # biases are 0 else
            if "seed" not in weight.path:
                weight.assign(weight + 0.1 * np.random.default_rng(1).normal(size=weight.shape))
        (given,) = model.inputs
        signature = [tf.TensorSpec((1, *given.shape[1:]), given.dtype, name="x")]
        function = tf.function(lambda x, model=model: model(x, training=False),
                               input_signature=signature)
        tf2onnx.convert.from_function(function, input_signature=signature, opset=opset,
                                      output_path=str(TARGET / f"keras_{make.__name__}.onnx"))


if __name__ == "__main__":
    main()
