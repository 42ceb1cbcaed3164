"""The matrix between RGB and the YCbCr of a video: with another one, red and green are shown wrongly.

Videos state it by FFmpeg's numbers (`AVColorSpace`). Many do not state it: players then go by the size of the picture.
"""

import av

RGB, BT709, UNKNOWN, BT601_PAL, BT601_NTSC = 0, 1, 2, 5, 6
# Players take larger pictures for HD, whose matrix is BT.709, and others for SD, whose matrix is BT.601.
MAX_SD_WIDTH_PX, MAX_SD_HEIGHT_PX = 1024, 576
# The names of matrices in FFmpeg's filters. Both of BT.601 are the same.
FILTER_NAMES = {BT709: "bt709", 4: "fcc", BT601_PAL: "bt601", BT601_NTSC: "bt601", 7: "smpte240m", 9: "bt2020"}


def matrix_of(picture: av.VideoFrame | av.VideoCodecContext) -> int:
    """Return the matrix of a frame or a stream, the one that players take if it does not state any.

    RGB has none. It becomes YCbCr by the matrix of its size.
    """
    if picture.colorspace not in (RGB, UNKNOWN):
        return int(picture.colorspace)
    is_hd = picture.width > MAX_SD_WIDTH_PX or picture.height > MAX_SD_HEIGHT_PX
    return BT709 if is_hd else BT601_NTSC


def scaler_matrix(picture: av.VideoFrame | av.VideoCodecContext) -> int | None:
    """Return the matrix of a frame or a stream as FFmpeg's scaler takes it, None for one that it does not know."""
    matrix = matrix_of(picture)
    if matrix == BT601_NTSC:
        return BT601_PAL
    return matrix if matrix in FILTER_NAMES else None


def filter_name(picture: av.VideoFrame | av.VideoCodecContext) -> str:
    """Return the name of the matrix of a frame or a stream in FFmpeg's filters."""
    return FILTER_NAMES.get(matrix_of(picture), "auto")
