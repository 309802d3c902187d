// One cursor for the films and all curves of an episode: the slider, a click on a curve, and playing move it.
const players = new Map();
document.querySelectorAll("article").forEach(article => {
  const data = JSON.parse(article.querySelector("script").textContent);
  const films = [...article.querySelectorAll("video")], slider = article.querySelector("input"), button = article.querySelector("button");
  const words = article.querySelector(".controls output"), plots = [...article.querySelectorAll(".plot")];
  let playing = null;
  const show = frame => {
    words.textContent = `frame ${frame} of ${data.frames - 1}, ${(frame / data.rate).toFixed(2)} s`;
    plots.forEach((plot, i) => {
      const {stride, values} = data.plots[i], x = data.frames > 1 ? 1000 * frame / (data.frames - 1) : 0;
      const cursor = plot.querySelector(".cursor");
      cursor.setAttribute("x1", x); cursor.setAttribute("x2", x);
      plot.querySelectorAll(".legend output").forEach((output, j) => {
        output.textContent = values[j][Math.floor(frame / stride)] ?? "missing";
      });
    });
  };
  const pause = () => films.forEach(film => film.pause());
  const halt = () => { cancelAnimationFrame(playing); playing = null; button.textContent = "▶"; };
  const seek = frame => {
    slider.value = frame;
    films.forEach(film => { film.currentTime = (Number(slider.value) + 0.5) / data.rate; });
    show(Number(slider.value));
  };
  const play = () => {
    if (Number(slider.value) >= data.frames - 1) seek(0);
    const first = Number(slider.value), began = performance.now();
    button.textContent = "❚❚";
    const step = now => {
      const frame = Math.min(data.frames - 1, first + Math.floor((now - began) / 1000 * data.rate));
      slider.value = frame;
      show(frame);
      if (frame >= data.frames - 1) { pause(); halt(); } else playing = requestAnimationFrame(step);
    };
    playing = requestAnimationFrame(step);
    films.forEach(film => film.play().catch(() => {}));
  };
  const toggle = () => { if (playing === null) play(); else { pause(); halt(); seek(slider.value); } };
  button.addEventListener("click", toggle);
  films.forEach(film => film.addEventListener("click", toggle));
  slider.addEventListener("input", () => { pause(); halt(); seek(slider.value); });
  plots.forEach(plot => plot.querySelector("svg").addEventListener("click", event => {
    const box = event.currentTarget.getBoundingClientRect();
    pause();
    halt(); seek(Math.round((event.clientX - box.left) / box.width * (data.frames - 1)));
  }));
  players.set(article.id, seek);
  show(0);
});
