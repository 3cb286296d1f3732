// Renews the view from the server: every two seconds, and at once after a button. What is open stays open, and a form that
// somebody writes in is left alone.
(function () {
  'use strict';
  var view = document.getElementById('view');
  var live = document.getElementById('live');
  var last = null;
  async function renew() {
    if (!view.dataset.fragment || document.hidden || view.contains(document.activeElement) && document.activeElement.matches('textarea, input[type=text]')) return;
    // Nor is what somebody has written already thrown away.
    if (Array.from(view.querySelectorAll('textarea, input[type=text]')).some(function (i) { return i.value !== i.defaultValue; })) return;
    try {
      var answer = await fetch(view.dataset.fragment, { cache: 'no-store' });
      if (!answer.ok) throw new Error(answer.status);
      var text = await answer.text();
      live.textContent = 'live';
      live.classList.remove('off');
      if (text === last) return;
      var open = Array.from(view.querySelectorAll('details[open]'), function (d) { return d.id; });
      view.innerHTML = text;
      last = text;
      open.forEach(function (id) { var d = document.getElementById(id); if (d) d.open = true; });
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
  setInterval(renew, 2000);
}());
