"""Filters that mirror and rotate decoded frames as they are displayed."""

import av

from videosummarizer.frame_scaling import is_mirrored, num_quarter_turns

# FFmpeg filters by the number of counter-clockwise quarter turns to apply.
ROTATION_FILTERS = {
    1: [("transpose", "cclock")],
    2: [("hflip", None), ("vflip", None)],
    3: [("transpose", "clock")],
}


def rotation_graph(stream: av.VideoStream, frame: av.VideoFrame) -> av.filter.Graph | None:
    """Return the filters that mirror and rotate a stream's frames, None where none are needed."""
    filters = orientation_filters(frame)
    return link_filters(stream, filters) if filters else None


def orientation_filters(frame: av.VideoFrame) -> list[tuple[str, str | None]]:
    """Return the names and arguments of the filters that mirror and rotate frames as they are displayed."""
    mirroring = [("hflip", None)] if is_mirrored(frame) else []
    return mirroring + ROTATION_FILTERS.get(num_quarter_turns(frame), [])


def link_filters(stream: av.VideoStream, filters: list[tuple[str, str | None]]) -> av.filter.Graph:
    """Return a graph that passes the frames of a stream through filters."""
    graph = av.filter.Graph()
    nodes = (graph.add(*one) for one in filters)
    graph.link_nodes(graph.add_buffer(template=stream), *nodes, graph.add("buffersink")).configure()
    return graph
