package report

import (
	"context"
	"image/color"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestScreenshot has a real browser draw the page, and finds the colours of
// plots and outcomes in the picture. ROPEWAY_SCREENSHOT=FILE keeps it, and
// ROPEWAY_REPORT=FILE takes another campaign, for people.
func TestScreenshot(t *testing.T) {
	browser := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			browser = path
			break
		}
	}
	if browser == "" {
		t.Skip("no chromium here: apt-get install chromium")
	}
	if testing.Short() {
		t.Skip("a browser takes seconds to start")
	}
	b := sample()
	if name := os.Getenv("ROPEWAY_REPORT"); name != "" {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if b, err = Decode(f); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	page, err := os.Create(filepath.Join(dir, "page.html"))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.HTML(page); err != nil {
		t.Fatal(err)
	}
	page.Close()
	shot := filepath.Join(dir, "page.png")
	if name := os.Getenv("ROPEWAY_SCREENSHOT"); name != "" {
		shot = name
	}
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
		"--hide-scrollbars", "--user-data-dir="+filepath.Join(dir, "profile"), "--window-size=1300,4200", "--screenshot="+shot, "file://"+page.Name())
	cmd.Env = append(os.Environ(), "HOME="+dir)
	cmd.WaitDelay = 5 * time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		if _, there := os.Stat(shot); there != nil {
			t.Skipf("the browser does not work here: %v\n%s", err, out)
		}
	}
	f, err := os.Open(shot)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	img, err := png.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	want := map[color.RGBA]string{
		{0x00, 0x59, 0xb3, 0xff}: "our colour", {0xd5, 0x5e, 0x00, 0xff}: "rsync's colour",
		{0xd8, 0xf0, 0xde, 0xff}: "an ok", {0xfb, 0xdc, 0xd6, 0xff}: "an error", {0x4a, 0x27, 0x45, 0xff}: "a hang",
	}
	pixels := map[color.RGBA]int{}
	for y := img.Bounds().Min.Y; y < img.Bounds().Max.Y; y++ {
		for x := img.Bounds().Min.X; x < img.Bounds().Max.X; x++ {
			c, _ := color.RGBAModel.Convert(img.At(x, y)).(color.RGBA)
			pixels[c]++
		}
	}
	for c, what := range want {
		n := 0
		for p, count := range pixels {
			if near(p.R, c.R) && near(p.G, c.G) && near(p.B, c.B) { // edges are blurred
				n += count
			}
		}
		if n < 100 {
			t.Errorf("%s (%v) is not on the page: %d pixels", what, c, n)
		}
	}
}

func near(a, b uint8) bool { return max(a, b)-min(a, b) < 24 }
