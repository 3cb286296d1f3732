// Renews the view from the server: every two seconds, and at once after a button. What is open stays open, what has the focus
// keeps it, and a form that somebody writes in is left alone.
(function () {
  'use strict';
  var view = document.getElementById('view');
  var live = document.getElementById('live');
  var last = view.innerHTML;
  var isPressed = false;
  // What somebody writes, or has written, is not thrown away.
  function isWritten() {
    var fields = Array.from(view.querySelectorAll('textarea, input[type=text]'));
    return fields.some(function (field) { return field === document.activeElement || field.value !== field.defaultValue; });
  }
  // By what a place that the keyboard goes to is known again in the new view.
  function known(it) { return [it.outerHTML, it.form && it.form.action, it.parentNode.id].join(' '); }
  async function renew() {
    if (document.hidden || isWritten()) return;
    try {
      var answer = await fetch(view.dataset.fragment, { cache: 'no-store' });
      if (!answer.ok) throw new Error(answer.status);
      var template = document.createElement('template');
      template.innerHTML = await answer.text();
      var text = template.innerHTML;
      live.textContent = 'live';
      live.classList.remove('off');
      // Somebody may have begun to write while the answer came, or holds the mouse down on what would be gone at its release.
      if (text === last || isPressed || isWritten()) return;
      var open = Array.from(view.querySelectorAll('details[open]'), function (d) { return d.id; });
      var focused = view.contains(document.activeElement) ? known(document.activeElement) : null;
      view.innerHTML = text;
      last = text;
      open.forEach(function (id) { var d = document.getElementById(id); if (d) d.open = true; });
      var again = Array.from(view.querySelectorAll('a, button, summary')).find(function (it) { return known(it) === focused; });
      if (again) again.focus({ preventScroll: true });
    } catch (error) {
      live.textContent = 'no answer from the cloud';
      live.classList.add('off');
    }
  }
  view.addEventListener('submit', async function (event) {
    var form = event.target;
    if (!form.action.endsWith('/scan')) return;
    event.preventDefault();
    form.querySelector('button').disabled = true;
    await fetch(form.action, { method: 'POST', body: new URLSearchParams(new FormData(form)) });
    renew();
  });
  view.addEventListener('pointerdown', function () { isPressed = true; });
  ['pointerup', 'pointercancel'].forEach(function (end) { window.addEventListener(end, function () { isPressed = false; }); });
  if (view.dataset.fragment) setInterval(renew, 2000);
}());
