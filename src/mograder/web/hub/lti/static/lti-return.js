// Sends the picked links to the platform; without scripts there is a button.

document.querySelector("#return").submit();
