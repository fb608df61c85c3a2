package main

import "github.com/spf13/cobra"

// commands are all commands in the order of the help, by the group they stand under. A new
// command is a file cmd_NAME.go with one constructor, and a line here.
func commands() []group {
	return []group{
		{"start", "See it work:", []constructor{newDemoCommand}},
		{"id", "Your identity:", []constructor{newIDCommand, newRegisterCommand, newDeviceCommand}},
		{"talk", "Your contacts:", []constructor{newContactCommand, newSendCommand, newInboxCommand, newCallCommand, newAnswerCommand, newRoomCommand, newFileCommand, newCardCommand}},
		{"node", "Your node:", []constructor{newServeCommand, newInitCommand, newInviteCommand, newPeersCommand, newPolicyCommand, newVerifyCommand, newDoctorCommand, newBenchCommand}},
		{"other", "Other commands:", []constructor{newVersionCommand, newCompletionCommand, newManCommand, newDemoParticipantCommand}},
	}
}

// constructor makes one command. It runs no code of the command.
type constructor func(*app) *cobra.Command

type group struct {
	id, title string
	commands  []constructor
}
