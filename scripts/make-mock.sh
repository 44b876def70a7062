#!/bin/sh
# Makes assets/mock.mp4, the video behind the known test hashes: 2,097,152 bytes exactly, as the documents promise.
# Needs npm ci, ffmpeg with libx264 and drawtext, and the font DejaVu Sans (or FONT=/path/to/font.ttf). The same ffmpeg
# makes the same bytes: the encoder has one thread, and no time of day goes into the file.
set -eu

cd "$(dirname "$0")/.."
PATH="$PWD/node_modules/.bin:$PATH"
font=${FONT:-$(fc-match --format '%{file}' 'DejaVu Sans')}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

printf 'Self-Streme mock video' > "$work/title"
printf 'this is a test hash, not a real torrent' > "$work/subtitle"
text="fontfile=$font:fontcolor=white:box=1:boxcolor=black@0.7:boxborderw=12:x=(w-text_w)/2"

# A key frame each second, so that a seek lands where it was asked; baseline and yuv420p, so that everything plays it.
ffmpeg -nostdin -v error -y \
  -f lavfi -i 'testsrc2=size=640x360:rate=24:duration=24' \
  -f lavfi -i 'sine=frequency=440:sample_rate=44100:duration=24' \
  -vf "drawtext=$text:fontsize=36:y=h/2-56:textfile=$work/title,drawtext=$text:fontsize=24:y=h/2+16:textfile=$work/subtitle" \
  -af 'volume=0.05' \
  -c:v libx264 -threads 1 -preset medium -profile:v baseline -pix_fmt yuv420p \
  -b:v 580k -maxrate 580k -bufsize 1160k -g 24 -keyint_min 24 -sc_threshold 0 \
  -c:a aac -b:a 64k -ac 2 \
  -metadata title='Self-Streme mock video: this is a test hash, not a real torrent' \
  -fflags +bitexact -flags:v +bitexact -flags:a +bitexact -movflags +faststart \
  "$work/mock.mp4"

node scripts/pad-mp4.ts "$work/mock.mp4" assets/mock.mp4 2097152
