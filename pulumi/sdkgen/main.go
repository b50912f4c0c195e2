// sdkgen writes the SDK of one language from a package schema, by Pulumi's own generators, which its command line only
// reaches through language hosts.
//
//	sdkgen SCHEMA LANGUAGE FOLDER
//
// It is of the last release that has the generator of .NET, so that all four are of one.
package main

import (
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"

	"github.com/pulumi/pulumi/pkg/v3/codegen/dotnet"
	gogen "github.com/pulumi/pulumi/pkg/v3/codegen/go"
	"github.com/pulumi/pulumi/pkg/v3/codegen/nodejs"
	"github.com/pulumi/pulumi/pkg/v3/codegen/python"
	"github.com/pulumi/pulumi/pkg/v3/codegen/schema"
)

const tool = "sdkgen"

type files = map[string][]byte

var generators = map[string]func(*schema.Package) (files, error){
	"python": func(pkg *schema.Package) (files, error) { return python.GeneratePackage(tool, pkg, nil, nil) },
	"nodejs": func(pkg *schema.Package) (files, error) {
		// Nothing is published yet, so the SDK compiles itself where it is installed from its folder.
		return nodejs.GeneratePackage(tool, pkg, nil, nil, true, nil)
	},
	"go": func(pkg *schema.Package) (files, error) { return gogen.GeneratePackage(tool, pkg, nil) },
	"dotnet": func(pkg *schema.Package) (files, error) {
		// The generator fetches the package's logo, by default that of Pulumi from the internet.
		server := httptest.NewServer(http.HandlerFunc(logo))
		defer server.Close()
		pkg.LogoURL = server.URL
		return dotnet.GeneratePackage(tool, pkg, nil, nil)
	},
}

func logo(answer http.ResponseWriter, _ *http.Request) {
	square := image.NewRGBA(image.Rect(0, 0, 64, 64))
	draw.Draw(square, square.Bounds(), image.NewUniform(color.RGBA{R: 0xf5, G: 0xa6, B: 0x23, A: 0xff}), image.Point{}, draw.Src)
	_ = png.Encode(answer, square)
}

func main() {
	if len(os.Args) != 4 {
		fail(fmt.Errorf("usage: sdkgen SCHEMA LANGUAGE FOLDER"))
	}
	generate, known := generators[os.Args[2]]
	if !known {
		fail(fmt.Errorf("%s is no language of ours: python, nodejs, go, dotnet", os.Args[2]))
	}
	pkg, err := read(os.Args[1])
	if err != nil {
		fail(err)
	}
	made, err := generate(pkg)
	if err != nil {
		fail(err)
	}
	for name, content := range made {
		if err := write(filepath.Join(os.Args[3], name), content); err != nil {
			fail(err)
		}
	}
}

// read checks the schema against Pulumi's own schema of schemas.
func read(path string) (*schema.Package, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var spec schema.PackageSpec
	if err := json.Unmarshal(text, &spec); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	pkg, found, err := schema.BindSpec(spec, nil, schema.ValidationOptions{})
	if err != nil {
		return nil, err
	}
	if found.HasErrors() {
		return nil, found
	}
	return pkg, nil
}

func write(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, content, 0o644)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "sdkgen:", err)
	os.Exit(1)
}
