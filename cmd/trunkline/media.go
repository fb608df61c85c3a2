package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/trunkline-net/trunkline/client"
)

// mediaFlags are what call and answer send, keep and show of themselves.
type mediaFlags struct {
	audio, video, record string
	relayOnly            bool
	loop                 bool // the files begin again at their end; of rooms
}

func addMediaFlags(cmd *cobra.Command) *mediaFlags {
	m := new(mediaFlags)
	f := cmd.Flags()
	f.StringVar(&m.audio, "audio", "", "send this file: Opus in Ogg (.ogg, .opus)")
	f.StringVar(&m.video, "video", "", "send this file: VP8 or VP9 in IVF (.ivf)")
	f.StringVar(&m.record, "record", "", "record what comes into audio.ogg and video.ivf, and a shared screen into screen.ivf and screen-audio.ogg, in this folder")
	f.BoolVar(&m.relayOnly, "relay-only", false, "go through your node's relay alone, so that the other side does not learn your addresses")
	return m
}

// check opens the files once, so that a wrong one is said before anything rings.
func (m *mediaFlags) check() error {
	s, err := m.source()
	if err != nil {
		return err
	}
	if err := s.Close(); err != nil {
		return failed(err, "cannot close the media files", "check the disk")
	}
	if m.record == "" {
		return nil
	}
	for _, name := range client.Recordings() {
		if _, err := os.Lstat(filepath.Join(m.record, name)); err == nil {
			return usageError("there is a recording in "+m.record+" already", "name another folder with --record DIR")
		} else if !errors.Is(err, fs.ErrNotExist) {
			return &exitError{code: exitUsage, what: withCause("cannot record there", err), do: "name a folder that can be written with --record DIR", err: err}
		}
	}
	return nil
}

// source is what this side sends. Without a file it is empty: it tells the other side at once
// that nothing will come, so that a call can end when all has been said.
func (m *mediaFlags) source() (*client.Source, error) {
	if m.audio == "" && m.video == "" {
		return &client.Source{Close: func() error { return nil }}, nil
	}
	open := client.OpenSource
	if m.loop {
		open = client.OpenLoop
	}
	s, err := open(m.audio, m.video)
	if err != nil {
		return nil, &exitError{code: exitUsage, what: withCause("cannot send that", err), do: "--audio takes Opus in Ogg, --video takes VP8 or VP9 in IVF", err: err}
	}
	return s, nil
}

// folder is where the nth call of a command is recorded: the first in the folder itself,
// further ones in numbered ones below.
func (m *mediaFlags) folder(nth int) string {
	if m.record == "" || nth < 2 {
		return m.record
	}
	return filepath.Join(m.record, strconv.Itoa(nth))
}

// options of the nth call of a command.
func (m *mediaFlags) options(nth int) (client.CallOptions, error) {
	o := client.CallOptions{RelayOnly: m.relayOnly}
	s, err := m.source()
	if err != nil {
		return o, err
	}
	o.Source = s
	if dir := m.folder(nth); dir != "" {
		if o.Sink, err = client.NewRecorder(dir); err != nil {
			return o, errors.Join(failed(err, "cannot record", "name another folder with --record DIR"), s.Close())
		}
	}
	return o, nil
}

func (m *mediaFlags) sends() bool { return m.audio != "" || m.video != "" }

// callFacts is what call and answer print of a call.
type callFacts struct {
	With           string     `json:"with"`
	Name           string     `json:"name"`
	Connected      bool       `json:"connected"`
	SetupMS        int64      `json:"setup_ms"`
	Route          string     `json:"route"` // of the whole path
	LocalRoute     string     `json:"local_route"`
	RemoteRoute    string     `json:"remote_route"`
	ChannelBinding bool       `json:"channel_binding"`
	SFrame         bool       `json:"sframe"`
	Audio          audioFacts `json:"audio"`
	Video          videoFacts `json:"video"`
	Record         string     `json:"record,omitempty"`
	Ended          string     `json:"ended"` // how: hangup, or what went wrong
}

type audioFacts struct {
	Sent     int `json:"sent"`
	Received int `json:"received"`
}

type videoFacts struct {
	Sent     int `json:"frames_sent"`
	Received int `json:"frames_received"`
}

func factsOf(call *client.Call, name, record string, err error) callFacts {
	i := call.Info()
	f := callFacts{
		With: call.Peer().ID(), Name: name, Connected: i.Connected, SetupMS: i.Setup.Milliseconds(),
		Route: i.Route.Path, LocalRoute: i.Route.Local, RemoteRoute: i.Route.Remote,
		ChannelBinding: i.ChannelBinding, SFrame: i.SFrame,
		Audio:  audioFacts{i.Media.AudioSent, i.Media.AudioReceived},
		Video:  videoFacts{len(i.Media.VideoSentHashes), len(i.Media.VideoReceivedHash)},
		Record: record, Ended: "hangup",
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		f.Ended = err.Error()
	}
	return f
}
