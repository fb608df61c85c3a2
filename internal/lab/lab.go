// Package lab makes networks out of the kernel's network namespaces, for tests: an internet,
// address translators of each kind behind it, hosts behind those, wires with delay and loss,
// and captures of what went over them. Real programs run in the hosts. It needs Linux and
// root, and ip, nft and conntrack (.ci/need-lab installs them).
//
// Start with [New], then [Lab.Public] for a host on the internet and [Lab.Behind] for a
// network behind a translator, whose [Net.Host] makes hosts in it. [Host.Start] runs a
// program in a host, [Host.Do] a function, [Host.Capture] records its packets.
//
// Nothing of a lab outlives its process, however that ends. A namespace has no name and no
// file: it lives in a thread of this process, and the kernel takes it away with the thread,
// with all interfaces, rules and wires in it. Programs in it get SIGKILL when the thread ends.
// So there is nothing to sweep, and two labs at the same time do not see each other. One thing
// follows for tests: threads of a process with labs come and go, so a program that is started
// outside of a host must not be bound to the thread that starts it (Pdeathsig).
package lab
