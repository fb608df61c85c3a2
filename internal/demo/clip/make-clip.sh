#!/bin/sh
# Makes the demo's clip: six seconds of a test picture and a tone, nobody's material.
# Needs ffmpeg with libvpx and libopus; the files beside this script are its output.
set -eu
cd "$(dirname "$0")"
ffmpeg -y -loglevel error -bitexact -f lavfi -i "testsrc2=size=320x240:rate=25:duration=6" \
    -c:v libvpx -b:v 260k -maxrate 300k -bufsize 300k -g 50 -deadline good -cpu-used 2 -an clip.ivf
ffmpeg -y -loglevel error -bitexact -f lavfi -i "sine=frequency=440:sample_rate=48000:duration=6" \
    -c:a libopus -b:a 32k -ac 1 -frame_duration 20 -vn clip.ogg
ls -l clip.ivf clip.ogg
