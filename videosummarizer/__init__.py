"""The package behind the scripts at the top level. This module imports nothing.

Sub-packages:

    dataset/           what data_converter.py writes and data_loader.py reads
    evaluation/        metrics, the operating point, reports and plots
    extraction/        from a checkpoint and a match to highlight sections, reels, exports and the review page
    labelling/         alignment of highlight videos with full matches, for label_finder.py
    notebooks/         what the Jupyter and Colab notebooks display and copy
    training/          layers, optimisation, checkpoints, resuming and several devices

Modules:

    antiphase.py       stereo audio that cancels to silence in mono
    argument_types.py  argparse types whose messages say what was received and what is expected
    atomic_file.py     writing a file completely or leaving the old one
    audio_mix.py       the sum of several audio tracks
    audio_track.py     audio of a video, by presentation time
    console.py         file names in any language, whatever the locale and the console
    error_messages.py  an unexpected error in one line that names the match
    frame_scaling.py   scaling, turning and mirroring decoded frames
    hardware_decoding.py
                       decoding on a device, where its pictures equal those of software
    interruption.py    Ctrl-C during imports and while processes start
    labels.py          label files: reading, checking, writing
    librosa_import.py  librosa, imported also where numba cannot store its cache
    match_files.py     titles of matches, their label files, and names that are refused
    media.py           frames of a video, by presentation time
    nal_units.py       which packets of H.264 and HEVC can be skipped, and where decoding can start
    packet_decoding.py decoding packets around damage
    prefetching.py     reading ahead in threads
    problems.py        warnings about a video that can be read nevertheless
    sections.py        sections in seconds and frames: union, coverage, length, mean score
    timestamps.py      timestamps that restart, jump, or do not fit the number of packets
    tracks.py          which video and which audio track of a file is read
    undecided.py       stretches of a match that nobody has looked at: reading, checking, writing
    untrusted_file.py  reading files that may be hostile: their size, JSON, excerpts for messages
    worker_processes.py
                       calls in worker processes, which cost no other call if they crash

A module imports from its own sub-package and from those that come after it in this order: notebooks, extraction,
training, evaluation, dataset. labelling imports none of them. No module imports a script.
"""
