"""CIFAR-10 comes from the cache folder, else from the first mirror with the right file, else the embedded set takes its place."""

import hashlib
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

import minisqx.kernels.counters  # noqa: F401  (compiled code is kept in the cache folder of the first import, not of a test)
from minisqx.data import download, open_dataset
from minisqx.errors import DataError, OptionError
from tests.cifar10_files import binary_archive, python_archive, random_batches

pooch = pytest.importorskip("pooch")


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MINISQX_CACHE", str(tmp_path / "cache"))
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "cache" / "data"


@pytest.fixture
def server():
    """A web server on this machine: `server.files` is what it has (path -> bytes), `server.asked` what was asked for."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            here.asked.append(self.path)
            if self.path in here.redirects:
                self.send_response(302)
                self.send_header("Location", here.redirects[self.path])
                self.end_headers()
                return
            content = here.files.get(self.path)
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write((content or b"")[: here.cut])

        def log_message(self, *_):
            pass

    here = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    here.files, here.redirects, here.asked, here.cut = {}, {}, [], None
    here.url = f"http://127.0.0.1:{here.server_address[1]}"
    thread = threading.Thread(target=here.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield here
    here.shutdown()
    here.server_close()
    thread.join()


def dead_address() -> str:
    """An address of this machine where nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def serve(server, archive, path):
    """Puts an archive on the server; returns its address with its checksum."""
    content = archive.read_bytes()
    server.files[path] = content
    return f"{server.url}{path}#sha256={hashlib.sha256(content).hexdigest()}"


def use_mirrors(monkeypatch, *addresses):
    monkeypatch.setenv("MINISQX_MIRRORS", ",".join(addresses))


def test_archive_is_downloaded_once_and_then_found_in_the_cache_folder(tmp_path, monkeypatch, server):
    batches = random_batches()
    use_mirrors(monkeypatch, serve(server, binary_archive(tmp_path, batches), "/x/cifar-10-binary.tar.gz"))
    for _ in range(2):
        dataset = open_dataset()
        assert dataset.name == "CIFAR-10"
        np.testing.assert_array_equal(dataset.test.labels, batches[5][1])
    assert server.asked == ["/x/cifar-10-binary.tar.gz"]


def test_dead_first_mirror_is_passed_over(tmp_path, monkeypatch, server):
    good = serve(server, python_archive(tmp_path, random_batches()), "/cifar-10-python.tar.gz")
    use_mirrors(monkeypatch, f"{dead_address()}/cifar-10-python.tar.gz", f"{server.url}/none/cifar-10-python.tar.gz", good)
    assert open_dataset("cifar10").name == "CIFAR-10"
    assert server.asked == ["/none/cifar-10-python.tar.gz", "/cifar-10-python.tar.gz"]


def test_mirror_with_a_wrong_checksum_is_refused_and_the_next_one_used(tmp_path, monkeypatch, server, cache_folder):
    good = serve(server, binary_archive(tmp_path, random_batches()), "/good/cifar-10-binary.tar.gz")
    server.files["/bad/cifar-10-binary.tar.gz"] = b"something else"
    lines = []
    use_mirrors(monkeypatch, f"{server.url}/bad/cifar-10-binary.tar.gz", good)
    assert open_dataset(say=lines.append).name == "CIFAR-10"
    assert any("wrong SHA-256" in line for line in lines)


def test_wrong_checksum_everywhere_is_an_error_and_leaves_no_file(tmp_path, monkeypatch, server, cache_folder):
    server.files["/cifar-10-binary.tar.gz"] = binary_archive(tmp_path, random_batches()).read_bytes()
    use_mirrors(monkeypatch, f"{server.url}/cifar-10-binary.tar.gz")  # held against the official checksum
    with pytest.raises(DataError, match="wrong SHA-256"):
        open_dataset()
    assert list(cache_folder.iterdir()) == []


def test_answer_that_breaks_off_is_refused_and_leaves_no_file(tmp_path, monkeypatch, server, cache_folder):
    use_mirrors(monkeypatch, serve(server, binary_archive(tmp_path, random_batches()), "/cifar-10-binary.tar.gz"))
    server.cut = 1000
    with pytest.raises(DataError, match="mirrors could be reached|wrong SHA-256"):
        open_dataset("cifar10")
    assert list(cache_folder.iterdir()) == []


def test_file_in_the_cache_folder_with_a_wrong_checksum_is_refused_and_kept(monkeypatch, server, cache_folder):
    use_mirrors(monkeypatch, f"{server.url}/cifar-10-python.tar.gz")
    cache_folder.mkdir(parents=True)
    (cache_folder / "cifar-10-python.tar.gz").write_bytes(b"half of it")
    with pytest.raises(DataError, match="delete it") as caught:
        open_dataset()
    assert "\n" not in str(caught.value) and server.asked == []
    assert (cache_folder / "cifar-10-python.tar.gz").exists()


def test_without_network_the_embedded_set_is_used_and_said_loudly(monkeypatch, capsys):
    use_mirrors(monkeypatch, f"{dead_address()}/cifar-10-binary.tar.gz")
    assert open_dataset().name == "embedded shapes"
    assert "USING THE EMBEDDED SHAPES" in capsys.readouterr().err


def test_without_network_cifar10_by_name_is_an_error(monkeypatch):
    use_mirrors(monkeypatch, f"{dead_address()}/cifar-10-binary.tar.gz")
    with pytest.raises(DataError, match="none of 1 mirrors"):
        open_dataset("cifar10")


def test_without_pooch_the_embedded_set_is_used_and_a_line_says_how_to_get_it(monkeypatch, server):
    use_mirrors(monkeypatch, f"{server.url}/cifar-10-binary.tar.gz")
    monkeypatch.setitem(sys.modules, "pooch", None)
    lines = []
    assert open_dataset(say=lines.append).name == "embedded shapes"
    assert "pip install 'minisqx[train]'" in lines[0] and server.asked == []


def test_without_a_folder_to_keep_it_nothing_is_downloaded(tmp_path, monkeypatch, server):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MINISQX_CACHE", str(tmp_path / "file"))
    use_mirrors(monkeypatch, f"{server.url}/cifar-10-binary.tar.gz")
    with pytest.raises(DataError, match="set MINISQX_CACHE"):
        open_dataset("cifar10")
    assert server.asked == []


@pytest.mark.parametrize(
    "address",
    [
        "http://example.org/cifar-10-binary.tar.gz",
        "ftp://127.0.0.1/cifar-10-binary.tar.gz",
        "file:///tmp/cifar-10-binary.tar.gz",
        "https://example.org:port/cifar-10-binary.tar.gz",
        "https://[/cifar-10-binary.tar.gz",
        "https://example.org/cifar.zip",
        "https://example.org/cifar-10-binary.tar.gz#sha256=12",
    ],
)
def test_address_that_is_no_safe_mirror_is_refused(monkeypatch, address):
    use_mirrors(monkeypatch, address)
    with pytest.raises(OptionError, match="MINISQX_MIRRORS"):
        open_dataset()


def test_mirror_that_leads_to_an_unsafe_address_is_passed_over(monkeypatch, server):
    server.redirects["/cifar-10-binary.tar.gz"] = f"http://0.0.0.0:{server.server_address[1]}/elsewhere.tar.gz"
    server.files["/elsewhere.tar.gz"] = b"content"
    use_mirrors(monkeypatch, f"{server.url}/cifar-10-binary.tar.gz")
    lines = []
    with pytest.raises(DataError, match="none of 1"):
        open_dataset("cifar10", say=lines.append)
    assert "not https" in lines[-1]


def test_an_answer_larger_than_any_archive_is_refused_before_it_is_taken(monkeypatch, server, cache_folder):
    monkeypatch.setattr(download, "MAX_BYTES", 1000)
    server.files["/cifar-10-binary.tar.gz"] = bytes(1001)
    use_mirrors(monkeypatch, f"{server.url}/cifar-10-binary.tar.gz")
    lines = []
    with pytest.raises(DataError, match="none of 1"):
        open_dataset("cifar10", say=lines.append)
    assert "1001 bytes" in lines[-1] and list(cache_folder.iterdir()) == []


def test_without_a_home_folder_nothing_is_downloaded(monkeypatch, server):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("MINISQX_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    use_mirrors(monkeypatch, f"{server.url}/cifar-10-binary.tar.gz")
    with pytest.raises(DataError, match="no home folder.*MINISQX_CACHE"):
        open_dataset("cifar10")
    assert server.asked == []


def test_official_mirrors_are_https_and_pinned(monkeypatch):
    monkeypatch.delenv("MINISQX_MIRRORS", raising=False)
    places = download.mirrors()
    assert len(places) >= 3
    assert all(place.url.startswith("https://") and place.sha256 == download.OFFICIAL[place.name] for place in places)
