from dataclasses import dataclass, field

from playwright.sync_api import Page, Request, Response, Route


@dataclass
class WatchedPage:
    """A page in a browser that can reach nothing but the page's server.

    Attributes:
        address: where the server is.
        page: of the browser.
        asked_of_others: addresses elsewhere that the page wanted.
        errors: what went wrong on it.
    """

    address: str
    page: Page
    asked_of_others: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.route("**/*", self._route)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("requestfailed", self._failed)
        self.page.on("response", self._answered)

    def _is_here(self, url: str) -> bool:
        return url.startswith((self.address, "data:", "blob:"))

    def _route(self, route: Route, request: Request) -> None:
        if self._is_here(request.url):
            route.continue_()
        else:
            self.asked_of_others.append(request.url)
            route.abort()

    def _answered(self, answer: Response) -> None:
        if not answer.ok:
            self.errors.append(f"{answer.status} {answer.url}")

    def _failed(self, request: Request) -> None:
        if self._is_here(request.url) and request.failure != "net::ERR_ABORTED":
            self.errors.append(f"{request.failure} {request.url}")
