// Command protogen writes the Go code of the project's .proto files. It compiles them in
// process, so that generating needs nothing but Go:
//
//	go run ./internal/protogen          # write *.pb.go
//	go run ./internal/protogen -check   # fail if a *.pb.go is not what would be written
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/protoutil"
	"google.golang.org/protobuf/cmd/protoc-gen-go/internal_gengo"
	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

const module = "github.com/trunkline-net/trunkline"

func main() {
	check := flag.Bool("check", false, "compare instead of writing")
	flag.Parse()
	if err := run(*check); err != nil {
		fmt.Fprintln(os.Stderr, "protogen:", err)
		os.Exit(1)
	}
}

func run(check bool) error {
	var files []string
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "node_modules" || d.Name() == ".git") {
			return filepath.SkipDir
		}
		if strings.HasSuffix(path, ".proto") {
			files = append(files, filepath.ToSlash(path))
		}
		return nil
	})
	if err != nil {
		return err
	}
	compiler := protocompile.Compiler{
		Resolver:       protocompile.WithStandardImports(&protocompile.SourceResolver{}),
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	linked, err := compiler.Compile(context.Background(), files...)
	if err != nil {
		return err
	}
	request := &pluginpb.CodeGeneratorRequest{
		FileToGenerate: files,
		Parameter:      proto.String("module=" + module),
	}
	for _, f := range linked {
		request.ProtoFile = append(request.ProtoFile, protoutil.ProtoFromFileDescriptor(f))
	}
	return generate(request, check)
}

func generate(request *pluginpb.CodeGeneratorRequest, check bool) error {
	for _, f := range request.ProtoFile {
		// No schema embeds another's options; the descriptor alone is enough.
		if f.Options == nil {
			f.Options = &descriptorpb.FileOptions{}
		}
	}
	plugin, err := protogen.Options{}.New(request)
	if err != nil {
		return err
	}
	for _, f := range plugin.Files {
		if f.Generate {
			internal_gengo.GenerateFile(plugin, f)
		}
	}
	response := plugin.Response()
	if response.GetError() != "" {
		return fmt.Errorf("%s", response.GetError())
	}
	for _, f := range response.File {
		want := []byte(f.GetContent())
		if check {
			have, err := os.ReadFile(f.GetName())
			if err != nil || !bytes.Equal(have, want) {
				return fmt.Errorf("%s is not fresh: run make generate", f.GetName())
			}
			continue
		}
		if err := os.WriteFile(f.GetName(), want, 0o644); err != nil {
			return err
		}
	}
	return nil
}
