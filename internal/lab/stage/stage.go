// Package stage puts organisations and people into a network lab: nodes and clients as real
// programs in hosts, with names, certificates and policies as they would have outside.
//
// Start with [New], make nodes with [Stage.Node] and start them with [Stage.Federate]; then
// [Stage.Person] makes somebody who is registered, and [Stage.Befriend] makes two of them
// contacts. A person is a data folder: the same one calls from whatever host it is taken to.
package stage
