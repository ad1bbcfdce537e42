// Keeps the page up to date. The server sends the whole <main>; what differs is
// changed in place, so that focus, scrolling and open rows stay.
"use strict";
(() => {
	const lateAfter = 6000; // ms; the server sends every two seconds
	const stale = document.getElementById("stale"), told = document.getElementById("told");
	let heard = Date.now(), source;

	const sameKind = (a, b) => a.nodeName === b.nodeName && (a.id || "") === (b.id || "");

	function morph(old, now) {
		if (old.nodeType !== Node.ELEMENT_NODE) {
			if (old.data !== now.data) old.data = now.data;
			return;
		}
		if (old.isEqualNode(now)) return;
		for (const { name } of [...old.attributes]) {
			if (name !== "open" && !now.hasAttribute(name)) old.removeAttribute(name);
		}
		for (const { name, value } of now.attributes) {
			if (old.getAttribute(name) !== value) old.setAttribute(name, value);
		}
		morphChildren(old, now);
	}

	function morphChildren(old, now) {
		const ids = new Set([...now.children].map((c) => c.id));
		for (const c of [...old.children]) if (c.id && !ids.has(c.id)) c.remove();
		const known = new Map([...old.children].filter((c) => c.id).map((c) => [c.id, c]));
		let at = old.firstChild;
		for (const next of [...now.childNodes]) {
			const mine = next.id ? known.get(next.id) : at && sameKind(at, next) ? at : undefined;
			if (!mine || mine.nodeName !== next.nodeName) {
				old.insertBefore(next, at);
				continue;
			}
			if (mine === at) at = at.nextSibling;
			else old.insertBefore(mine, at);
			morph(mine, next);
		}
		while (at) {
			const next = at.nextSibling;
			at.remove();
			at = next;
		}
	}

	function show(html) {
		const main = document.getElementById("page");
		const now = new DOMParser().parseFromString(html, "text/html").getElementById("page");
		if (!now) return;
		morph(main, now);
		document.title = now.dataset.title;
		const icon = document.getElementById("icon"), href = `icon-${now.dataset.level}.svg`;
		if (icon.getAttribute("href") !== href) icon.setAttribute("href", href);
	}

	function listen() {
		source = new EventSource("updates" + location.search);
		source.onmessage = (message) => {
			heard = Date.now();
			show(message.data);
		};
		source.onerror = () => {
			if (source.readyState === EventSource.CLOSED) setTimeout(listen, 3000);
		};
	}

	setInterval(() => {
		const late = Date.now() - heard;
		stale.hidden = late < lateAfter;
		stale.textContent = stale.hidden ? "" : `Not updated for ${Math.round(late / 1000)} s: what is shown may be wrong.`;
		const text = stale.hidden ? "" : "The page is not updated any more: what is shown may be wrong."; // said once
		if (told.textContent !== text) told.textContent = text;
	}, 1000);
	listen();
})();
